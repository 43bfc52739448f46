// The dense computation (dense.h) of every variant of the registry, compiled once.
#pragma once

#include "kernels/bench/dense.h"

namespace attnlab {

// Output and gradients in float64, and in float32 for the error that a plain computation has.
struct Truth {
  Gradients<double> exact;
  Gradients<float> plain;
};

template <class Variant>
Truth ComputeTruthOf(const Problem& problem, const Tensors<float>& x) {
  const auto variant = WithConstants<Variant>(problem.constants);
  const Tensors<double> exact = Convert<double>(x);
  return {DenseAttention<Variant, double>(variant, problem, exact).Run(),
          DenseAttention<Variant, float>(variant, problem, x).Run()};
}

// Of problem.weighting with problem.constants; operands and learned numbers come from `x`.
Truth ComputeTruth(const Problem& problem, const Tensors<float>& x);

// The float64 part alone, of float64 operands.
Gradients<double> ComputeExact(const Problem& problem, const Tensors<double>& x);

// max |got - exact|, what is allowed of it, and where it is: twice the error of the plain float32
// computation, and 1e-6 of the largest number or of `terms`, the size of what cancels.
struct Deviation {
  double worst;
  double allowed;
  size_t at;

  bool TooLarge() const { return !(worst <= allowed); }  // a NaN is
};
Deviation Compare(const std::vector<float>& got, const std::vector<float>& plain,
                  const std::vector<double>& exact, double terms, double slack = 1e-6);

}  // namespace attnlab
