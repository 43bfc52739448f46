// The kernel bench: an attention problem that is checked against float64 first, and then timed.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "kernels/attention.h"

namespace attnlab {

// Random float32 operands of one shape with room for every result; args point into it.
class BenchProblem {
 public:
  // `weighting` is a place in Weightings(); its constants are the defaults, its learned numbers
  // the first ones.
  BenchProblem(int weighting, const Shape& shape, bool causal);
  BenchProblem(const BenchProblem&) = delete;
  BenchProblem& operator=(const BenchProblem&) = delete;

  ForwardArgs forward;
  BackwardArgs backward;  // of what `forward` left

  // Floating-point operations: 4 B H D a visible pair forward, 2.5 times that backward.
  double ForwardFlops() const;
  double BackwardFlops() const { return 2.5 * ForwardFlops(); }

  std::vector<float> q, k, v, out_grad;
  std::vector<float> out, q_grad, k_grad, v_grad;

 private:
  std::vector<float> shift_, denominator_, learned_, learned_grad_;
};

// What is wrong with forward or backward of `weighting` on a shape with these heads and dims (the
// sequence cut to at most 300 tokens), empty if nothing: an error above twice that of a plain
// float32 computation.
std::string CheckKernels(int weighting, Shape shape, bool causal);

// The middle of `runs` wall times, in seconds, after one run that does not count.
// Several bodies take turns, so that a busy machine is busy for all of them.
std::vector<double> TimeInTurns(int runs, const std::vector<std::function<void()>>& bodies);

}  // namespace attnlab
