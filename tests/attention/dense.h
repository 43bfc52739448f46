// Attention in float64 by the definition, one score at a time and without LibTorch: what the tests
// compare with. Gradients come from central differences of it. The formulas are written here once
// more, in their textbook form.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "libs/attention/options.h"

namespace attnlab {

// Everything a call of Attention takes, and an output gradient.
struct Operands {
  at::Tensor q;  // [B, H, T, D]
  at::Tensor k;  // [B, Hkv, S, D]
  at::Tensor v;  // [B, Hkv, S, Dv]
  std::vector<at::Tensor> learned;
  at::Tensor out_grad;  // [B, H, T, Dv]

  // The same numbers in another dtype, on another device; requiring gradients or not.
  Operands To(at::ScalarType type, at::Device device = at::kCPU, bool needs_grad = false) const;
};

struct Dimensions {
  int64_t batch = 1, heads = 1, kv_heads = 1, queries = 1, keys = 1, head_dim = 1, value_dim = 1;
};

// Seeded normal numbers; q times `sharpness`; learned numbers near their initial values.
Operands RandomOperands(const Dimensions& dimensions, const AttentionOptions& options,
                        double sharpness = 1, int seed = 1);

// The weights of one row: `x` the raw scores of the keys that it sees, `distance` to them.
std::vector<double> DenseRow(const AttentionOptions& options, const std::vector<double>& x,
                             const std::vector<double>& distance, double position,
                             const std::vector<double>& learned);

// [B, H, T, Dv] float64 on the CPU.
at::Tensor DenseAttention(const Operands& operands, const AttentionOptions& options);

// Gradients of sum(out * out_grad) by q, k, v and each learned number, in this order, by central
// differences.
std::vector<at::Tensor> DenseGradients(const Operands& operands, const AttentionOptions& options);

// max |a - b| / (1 + max |b|); infinite where `a` is not finite.
double Distance(const at::Tensor& a, const at::Tensor& b);

}  // namespace attnlab
