// Attention as one differentiable operation, whatever computes it.
//
// options.implementation:
//   auto       kernel on the CPU in float32, blocked elsewhere
//   kernel     kernels/attention.h: our own blocked loops
//   blocked    blocked.h: LibTorch's matrix products over blocks of queries, any device and
//   floating dtype reference  reference.h: the dense formula, differentiated by LibTorch (also
//   twice) sdpa       LibTorch's scaled_dot_product_attention: softmax only, the peer of
//   comparisons
#pragma once

#include <vector>

#include "libs/attention/options.h"

namespace at {
class Tensor;
}

namespace attnlab {

// The attention output of `q` on `k` and `v`, in q's dtype. Differentiable in q, k, v and the head
// parameters; keeps nothing for a backward pass when gradients are off or nothing needs them. H is
// a multiple of Hkv; query head h reads key head h / (H / Hkv). Any strides; views of [B, T, H, D]
// are read in place. `options` is valid (Validate): what they ask of shapes and devices that cannot
// be had (sdpa for a variant, a window in sdpa) throws c10::Error with a message.
at::Tensor Attention(
    const at::Tensor& q,  // [B, H, T, D]
    const at::Tensor& k,  // [B, Hkv, S, D], S >= T when causal
    const at::Tensor& v,  // [B, Hkv, S, Dv]
    const AttentionOptions& options,
    const std::vector<at::Tensor>& head_parameters = {});  // each [H]; HeadParameters(options)
                                                           // -> [B, H, T, Dv]

}  // namespace attnlab
