// The elementwise and row-wise parts of a decoder on tensors, without gradients: kernels/fused for
// float32 on the CPU, LibTorch's operators elsewhere. fused_ops.h makes them differentiable.
#pragma once

#include <ATen/core/Tensor.h>

#include <utility>

namespace attnlab {

// True when `tensor` is float32 on the CPU, which is what kernels/fused computes.
bool HasRowKernels(const at::Tensor& tensor);

struct RmsNormResult {
  at::Tensor sum;    // [N, D]: x + delta; x itself when delta is undefined
  at::Tensor out;    // [N, D]
  at::Tensor scale;  // [N]: 1 / sqrt(mean(sum^2) + eps)
};

// Float32 on the CPU only. `delta` may be undefined.
RmsNormResult RmsNormRows(const at::Tensor& x,       // [N, D]
                          const at::Tensor& delta,   // [N, D]
                          const at::Tensor& weight,  // [D]
                          double eps);

// The gradients of x (and of delta, which is the same) and of the weight. `sum_grad` may be
// undefined.
std::pair<at::Tensor, at::Tensor> RmsNormRowsBackward(const RmsNormResult& forward,
                                                      const at::Tensor& weight,
                                                      const at::Tensor& out_grad,
                                                      const at::Tensor& sum_grad);

// Writes the rotation of `from` by the angles of its tokens into `to`, back when `inverse`.
void Rotate(const at::Tensor& from,  // [B, H, T, D], any strides
            const at::Tensor& to,    // [B, H, T, D], any strides
            const at::Tensor& cos,   // [T, D / 2]
            const at::Tensor& sin,   // [T, D / 2]
            bool inverse);

// silu(gate) * up of gate_up [N, 2 F] -> [N, F], and the gradient of gate_up.
at::Tensor SwiGluRows(const at::Tensor& gate_up);
at::Tensor SwiGluRowsBackward(const at::Tensor& gate_up, const at::Tensor& out_grad);

// -log p(target) and log sum e^logit of each row, in float32 (float64 for float64 logits).
std::pair<at::Tensor, at::Tensor> CrossEntropyRows(const at::Tensor& logits,    // [N, V]
                                                   const at::Tensor& targets);  // [N]; < 0: loss 0

// The gradient of the logits, in their dtype.
at::Tensor CrossEntropyRowsBackward(const at::Tensor& logits, const at::Tensor& targets,
                                    const at::Tensor& log_sum, const at::Tensor& loss_grad);

}  // namespace attnlab
