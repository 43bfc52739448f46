// The pieces of a decoder layer as differentiable operations of few, large steps. Each takes any
// floating dtype and device; float32 on the CPU runs on kernels/fused. Once differentiable:
// gradients of gradients are not kept.
#pragma once

#include <ATen/core/Tensor.h>

#include <utility>
#include <vector>

namespace attnlab {

// sum = x + delta and weight * sum / sqrt(mean(sum^2) + eps), the latter in `dtype`. An undefined
// delta counts as 0. One step instead of two, since the gradient of the residual stream then needs
// no sum of its own.
std::pair<at::Tensor, at::Tensor> AddRmsNorm(const at::Tensor& x,       // [..., D]
                                             const at::Tensor& delta,   // [..., D]
                                             const at::Tensor& weight,  // [D]
                                             double eps, at::ScalarType dtype);

// x times each of `weights` (each [out, in]), side by side: [..., in] -> [..., sum of out], in the
// dtype of x, to which the weights are cast. One matrix product; without a copy when the weights
// lie one behind the other in memory.
at::Tensor PackedLinear(const at::Tensor& x, const std::vector<at::Tensor>& weights);

struct QueryKeyValue {
  at::Tensor q;     // [B, H, T, D], rotated
  at::Tensor k, v;  // [B, Hkv, T, D], k rotated
};

// Takes the product of x with (Wq, Wk, Wv) apart and applies RoPE.
QueryKeyValue SplitRotate(const at::Tensor& qkv,  // [B, T, (H + 2 Hkv) D]
                          int64_t heads, int64_t kv_heads,
                          const at::Tensor& cos,   // [T, D / 2]
                          const at::Tensor& sin);  // [T, D / 2]

// silu(gate) * up: [..., 2 F] -> [..., F].
at::Tensor SwiGlu(const at::Tensor& gate_up);

// -log softmax(hidden weight^T)[target] at each position, in float32 (float64 for float64). A
// target below 0 gives 0 without a gradient. The logits of at most `chunk` numbers are held at a
// time; when there are more, the backward computes them again. chunk = 0: a default that fits the
// device.
at::Tensor LinearCrossEntropy(const at::Tensor& hidden,   // [N, D]
                              const at::Tensor& weight,   // [V, D]
                              const at::Tensor& targets,  // [N] int64, below V
                              int64_t chunk = 0);         // -> [N]

}  // namespace attnlab
