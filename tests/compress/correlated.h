// Weights and correlated inputs of a made-up matrix, for the tests of second-order methods.
#pragma once

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/randn.h>

#include <cmath>
#include <cstdint>

namespace attnlab {

struct CorrelatedCase {
  at::Tensor weight;   // [out, in] float32
  at::Tensor inputs;   // [tokens, in] float32; some channels are much louder than others
  at::Tensor hessian;  // 2 x^T x, of one sequence
};

inline CorrelatedCase MakeCorrelated(int64_t out, int64_t in, int64_t tokens, uint64_t seed = 5) {
  const at::Generator generator = at::detail::createCPUGenerator(seed);
  const at::Tensor mix = at::randn({in, in}, generator) * 0.7 / std::sqrt(static_cast<double>(in));
  const at::Tensor loudness = (at::arange(in, at::kFloat) * 0.37).sin().exp();
  CorrelatedCase made;
  made.weight = at::randn({out, in}, generator) * 0.05;
  made.inputs = at::randn({tokens, in}, generator);
  made.inputs = (made.inputs + made.inputs.matmul(mix) * 2) * loudness;
  made.hessian = made.inputs.t().matmul(made.inputs) * 2;
  return made;
}

// |X (W - V)^T|^2 in float64.
inline double OutputError(const CorrelatedCase& made, const at::Tensor& values) {
  const at::Tensor change = (made.weight - values).to(at::kDouble);
  return made.inputs.to(at::kDouble).matmul(change.t()).square().sum().item<double>();
}

}  // namespace attnlab
