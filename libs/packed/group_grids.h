// Numbers of matrices whose codes lie an input at a time, the way of the GPTQ and AWQ layouts.
#pragma once

#include <ATen/core/Tensor.h>

#include "absl/status/statusor.h"

namespace attnlab {

// Scales as the two layouts keep them: float16. InvalidArgument when one is not finite or becomes
// infinite there (above 65504, rounded).
absl::StatusOr<at::Tensor> Float16Scales(const at::Tensor& scales);

// W_ij = scales[g, i] (codes[j, i] - zeros[g, i]) with g = group[j]: [out, in] float32. On a CPU in
// tiles that fit its first cache, since the result is the codes' transpose.
at::Tensor NumbersOfGrids(const at::Tensor& codes,   // [in, out] uint8
                          const at::Tensor& zeros,   // [groups, out] float32
                          const at::Tensor& scales,  // [groups, out] float32
                          const at::Tensor& group);  // [in] int64, below `groups`

}  // namespace attnlab
