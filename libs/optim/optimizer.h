// AdamW (Loshchilov, Hutter 2019), with gradients clipped to a global norm first:
//
//     g <- g min(1, clip / ||g||)
//     m <- b1 m + (1 - b1) g         v <- b2 v + (1 - b2) g^2
//     w <- (1 - lr decay) w - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)
//
// A step whose gradient holds a NaN or an infinity can be skipped: nothing changes then.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace attnlab {

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

struct OptimizerConfig {
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double weight_decay = 0.1;
  std::string decay = "all";
  double clip = 1.0;
  bool skip_nonfinite = true;

  template <class Visitor>
  void ForEach(Visitor&& visit) {
    visit("beta1", beta1, "decay of the mean of gradients");
    visit("beta2", beta2, "decay of the mean of squared gradients");
    visit("eps", eps, "added to the root of the mean square");
    visit("weight_decay", weight_decay, "decoupled weight decay, times the learning rate");
    visit("decay", decay, "what decays: all, or matrices (not norms and per-head numbers)");
    visit("clip", clip, "largest global norm of a gradient; 0 = no clipping");
    visit("skip_nonfinite", skip_nonfinite, "skip a step whose gradient has a NaN or an infinity");
  }
};

// InvalidArgument that names the field, its value and what it must be.
absl::Status Validate(const OptimizerConfig& config);

struct StepResult {
  double gradient_norm = 0;  // global, before clipping; NaN or infinite as the gradient is
  bool applied = true;       // false when the step was skipped
};

// Keeps the tensors of `parameters` (leaves with requires_grad) and two moments of each.
class AdamW {
 public:
  // `config` is valid.
  AdamW(const OptimizerConfig& config, NamedTensors parameters);

  // One update with learning rate `rate`. A parameter without a gradient stays as it is.
  StepResult Step(double rate);

  // Forgets all gradients.
  void ZeroGrad();

  int64_t steps() const { return steps_; }  // updates that were applied

  // The moments as "exp_avg.NAME" and "exp_avg_sq.NAME", then "step" (int64, no dimensions).
  NamedTensors State() const;

  // Takes a state that State() gave for the same parameters: copies into the moments. An error
  // names the tensor that is missing, unknown, or of the wrong shape or dtype; nothing changes
  // then.
  absl::Status LoadState(const NamedTensors& state);

 private:
  bool Decays(const at::Tensor& parameter) const;

  const OptimizerConfig config_;
  const NamedTensors parameters_;
  std::vector<at::Tensor> means_, squares_;  // in the order of parameters_
  int64_t steps_ = 0;
};

// Scales the gradients of `parameters` to a global norm of at most `clip` (0 = leaves them) and
// returns the norm before.
double ClipGradients(const NamedTensors& parameters, double clip);

}  // namespace attnlab
