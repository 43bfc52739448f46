// What a model reports while it runs, for those who measure it: hidden states and the operands of
// every attention. A probe is given to a forward pass; without one nothing is collected.
#pragma once

#include <cstdint>
#include <vector>

#include "libs/attention/options.h"
#include "libs/packed/slots.h"

namespace at {
class Tensor;
}

namespace attnlab {

// Override what is wanted. Tensors are the model's own, in its dtype and on its device: read, do
// not write.
class ForwardProbe {
 public:
  virtual ~ForwardProbe() = default;

  // The residual stream [B, T, hidden]: index 0 after the embedding, index l after layer l
  // (1-based).
  virtual void OnHidden(int64_t index, const at::Tensor& hidden) {}

  // The residual stream after the final norm, what the output head reads: [B, T, hidden].
  virtual void OnFinalNorm(const at::Tensor& hidden) {}

  // What a matrix of layer `layer` (0-based) multiplies: [B, T, in]. Matrices that share it are
  // told once, by their first: q (also k and v), o, gate (also up), down.
  virtual void OnMatrixInput(int64_t layer, MatrixSlot first, const at::Tensor& input) {}

  // One attention of layer `layer` (0-based), q and k after RoPE, `out` before the output
  // projection and any gate.
  virtual void OnAttention(int64_t layer,
                           const at::Tensor& q,    // [B, H, T, D]
                           const at::Tensor& k,    // [B, Hkv, S, D]
                           const at::Tensor& v,    // [B, Hkv, S, Dv]
                           const at::Tensor& out,  // [B, H, T, Dv]
                           const AttentionOptions& options,
                           const std::vector<at::Tensor>& head_parameters) {}  // each [H]
};

}  // namespace attnlab
