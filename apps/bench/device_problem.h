// One of our kernels on tensors of a CUDA device: arguments that point into them, and the launches.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "apps/bench/inputs.h"
#include "kernels/attention.h"
#include "libs/attention/options.h"

namespace attnlab {

// A way to compute attention that is timed under its own name. Whether tiles are skipped is
// options.skip_zero_tiles.
struct Contender {
  AttentionOptions options;
  std::vector<at::Tensor> learned;  // each [H], float32
  std::string kernel;               // "hopper", ...; "best": the kernels' own choice

  bool SkipsTiles() const;                 // the variant has exact zeros, which a kernel may skip
  Problem On(const Inputs& inputs) const;  // points into both
};

// The learned numbers of `options` as a model starts with them, on `device`.
std::vector<at::Tensor> InitialLearned(const AttentionOptions& options, int64_t heads,
                                       at::Device device);

class DeviceProblem {
 public:
  // Keeps the tensors of `inputs`. Statistics and gradients have room only if `gradients`.
  DeviceProblem(const Inputs& inputs, const Contender& contender, bool gradients);
  DeviceProblem(const DeviceProblem&) = delete;
  DeviceProblem& operator=(const DeviceProblem&) = delete;

  // Each throws std::runtime_error with what the kernel says is wrong.
  void Forward() const;
  void Backward() const;  // after Forward
  void Decode() const;

  // The share of tiles that `launch` skips, NaN where it counts none.
  double SkippedShare(void (DeviceProblem::*launch)() const);

  const at::Tensor& out() const { return out_; }
  std::vector<at::Tensor> gradients() const { return {q_grad_, k_grad_, v_grad_}; }

 private:
  const Inputs inputs_;
  const Contender contender_;
  std::vector<at::Tensor> learned_grad_;
  at::Tensor out_, shift_, denominator_, live_tiles_, q_grad_, k_grad_, v_grad_, workspace_;
  ForwardArgs forward_;
  BackwardArgs backward_;
};

}  // namespace attnlab
