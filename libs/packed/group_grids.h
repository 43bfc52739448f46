// Numbers of matrices whose codes lie an input at a time, the way of the GPTQ and AWQ layouts.
#pragma once

#include <ATen/core/Tensor.h>

namespace attnlab {

// W_ij = scales[g, i] (codes[j, i] - zeros[g, i]) with g = group[j]: [out, in] float32. On a CPU in
// tiles that fit its first cache, since the result is the codes' transpose.
at::Tensor NumbersOfGrids(const at::Tensor& codes,   // [in, out] uint8
                          const at::Tensor& zeros,   // [groups, out] float32
                          const at::Tensor& scales,  // [groups, out] float32
                          const at::Tensor& group);  // [in] int64, below `groups`

}  // namespace attnlab
