// Attention as one differentiable operation, whatever computes it.
//
// options.implementation:
//   auto       kernel where a fast one runs (CPU: float32 and bfloat16; CUDA: 16-bit numbers, head
//              dim 64 or 128), blocked elsewhere
//   kernel     kernels/attention.h: our own tiled loops
//   blocked    blocked.h: LibTorch's matrix products over blocks of query rows, on any device
//   reference  reference.h: the dense formula, differentiated by LibTorch
//   sdpa       LibTorch's scaled_dot_product_attention: softmax only, for comparison
#pragma once

#include <vector>

#include "libs/attention/options.h"

namespace at {
class Tensor;
}

namespace attnlab {

// The attention output of `q` on `k` and `v`, in q's dtype. Differentiable in q, k, v and the head
// parameters; keeps nothing for a backward pass when gradients are off or nothing needs them. H is
// a multiple of Hkv; query head h reads key head h / (H / Hkv). Any strides; kernels read views of
// [B, T, H, D] in place. `options` is valid (Validate). Shapes that do not fit, and a kernel that
// does not run on the device or dtype, throw c10::Error.
at::Tensor Attention(
    const at::Tensor& q,  // [B, H, T, D]
    const at::Tensor& k,  // [B, Hkv, S, D], S >= T when causal
    const at::Tensor& v,  // [B, Hkv, S, Dv]
    const AttentionOptions& options,
    const std::vector<at::Tensor>& head_parameters = {});  // each [H]; HeadParameters(options)
                                                           // -> [B, H, T, Dv]

}  // namespace attnlab
