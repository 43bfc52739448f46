// AdamW through LibTorch's fused update, which takes all tensors of a group at once on any device.

#include "libs/optim/optimizer.h"

#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/full.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>

#include <cmath>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "libs/core/check.h"
#include "libs/core/status.h"

namespace attnlab {
namespace {

constexpr char kMeanPrefix[] = "exp_avg.", kSquarePrefix[] = "exp_avg_sq.", kStep[] = "step";

absl::Status CheckAtLeast(const char* name, double value, double low, double below) {
  if (value >= low && value < below) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrFormat("%s = %g: must be at least %g and below %g", name, value, low, below));
}

absl::Status CheckLike(const std::string& name, const at::Tensor& tensor,
                       const at::Tensor& expected) {
  if (tensor.sizes() == expected.sizes() && tensor.scalar_type() == expected.scalar_type()) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrFormat(
      "optimizer state: tensor %s is %s [%s], but the model makes it %s [%s]", name,
      c10::toString(tensor.scalar_type()), absl::StrJoin(tensor.sizes(), ", "),
      c10::toString(expected.scalar_type()), absl::StrJoin(expected.sizes(), ", ")));
}

std::vector<at::Tensor> Gradients(const NamedTensors& parameters) {
  std::vector<at::Tensor> gradients;
  for (const auto& [name, parameter] : parameters) {
    if (parameter.grad().defined()) gradients.push_back(parameter.grad());
  }
  return gradients;
}

}  // namespace

absl::Status Validate(const OptimizerConfig& config) {
  constexpr double kLargest = 1e9;
  ATTNLAB_RETURN_IF_ERROR(CheckAtLeast("beta1", config.beta1, 0, 1));
  ATTNLAB_RETURN_IF_ERROR(CheckAtLeast("beta2", config.beta2, 0, 1));
  ATTNLAB_RETURN_IF_ERROR(CheckAtLeast("eps", config.eps, 0, kLargest));
  ATTNLAB_RETURN_IF_ERROR(CheckAtLeast("weight_decay", config.weight_decay, 0, kLargest));
  ATTNLAB_RETURN_IF_ERROR(CheckAtLeast("clip", config.clip, 0, kLargest));
  if (config.decay != "all" && config.decay != "matrices") {
    return absl::InvalidArgumentError(
        absl::StrFormat("decay = \"%s\": must be all or matrices", config.decay));
  }
  return absl::OkStatus();
}

double ClipGradients(const NamedTensors& parameters, double clip) {
  const c10::AutoGradMode no_grad(false);
  const std::vector<at::Tensor> gradients = Gradients(parameters);
  if (gradients.empty()) return 0;
  const double norm = at::stack(at::_foreach_norm(gradients)).norm().item().toDouble();
  if (clip > 0 && norm > clip && std::isfinite(norm)) at::_foreach_mul_(gradients, clip / norm);
  return norm;
}

AdamW::AdamW(const OptimizerConfig& config, NamedTensors parameters)
    : config_(config), parameters_(std::move(parameters)) {
  const c10::AutoGradMode no_grad(false);
  for (const auto& [name, parameter] : parameters_) {
    ATTNLAB_CHECK(parameter.is_leaf() && parameter.requires_grad(), name);
    means_.push_back(at::zeros_like(parameter, at::MemoryFormat::Contiguous));
    squares_.push_back(at::zeros_like(parameter, at::MemoryFormat::Contiguous));
  }
}

StepResult AdamW::Step(double rate) {
  const c10::AutoGradMode no_grad(false);
  StepResult result;
  result.gradient_norm = ClipGradients(parameters_, config_.clip);
  if (config_.skip_nonfinite && !std::isfinite(result.gradient_norm)) {
    result.applied = false;
    return result;
  }
  ++steps_;
  for (const bool decays : {true, false}) {
    std::vector<at::Tensor> parameters, gradients, means, squares;
    for (size_t i = 0; i < parameters_.size(); ++i) {
      const at::Tensor& parameter = parameters_[i].second;
      if (!parameter.grad().defined() || Decays(parameter) != decays) continue;
      parameters.push_back(parameter);
      gradients.push_back(parameter.grad());
      means.push_back(means_[i]);
      squares.push_back(squares_[i]);
    }
    if (parameters.empty()) continue;
    const at::Tensor step = at::full({}, static_cast<double>(steps_),
                                     at::TensorOptions(at::kFloat).device(means[0].device()));
    at::_fused_adamw_(parameters, gradients, means, squares, /*max_exp_avg_sqs=*/{},
                      std::vector<at::Tensor>(parameters.size(), step), rate, config_.beta1,
                      config_.beta2, decays ? config_.weight_decay : 0, config_.eps,
                      /*amsgrad=*/false, /*maximize=*/false);
  }
  return result;
}

bool AdamW::Decays(const at::Tensor& parameter) const {
  return config_.decay == "all" || parameter.dim() >= 2;
}

void AdamW::ZeroGrad() {
  for (const auto& [name, parameter] : parameters_) parameter.mutable_grad().reset();
}

NamedTensors AdamW::State() const {
  NamedTensors state;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    state.emplace_back(kMeanPrefix + parameters_[i].first, means_[i]);
  }
  for (size_t i = 0; i < parameters_.size(); ++i) {
    state.emplace_back(kSquarePrefix + parameters_[i].first, squares_[i]);
  }
  state.emplace_back(kStep, at::full({}, steps_, at::kLong));
  return state;
}

absl::Status AdamW::LoadState(const NamedTensors& state) {
  std::map<std::string, at::Tensor> given(state.begin(), state.end());
  if (given.size() != state.size()) {
    return absl::InvalidArgumentError("optimizer state: a tensor name occurs twice");
  }
  const NamedTensors own = State();
  for (const auto& [name, tensor] : own) {
    const auto it = given.find(name);
    if (it == given.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat("optimizer state: tensor ", name, " is missing"));
    }
    ATTNLAB_RETURN_IF_ERROR(CheckLike(name, it->second, tensor));
  }
  if (given.size() != own.size()) {
    for (const auto& [name, tensor] : own) given.erase(name);
    return absl::InvalidArgumentError(
        absl::StrCat("optimizer state: tensor ", given.begin()->first, " is not known"));
  }
  const int64_t steps = given[kStep].item().toLong();
  if (steps < 0) {
    return absl::InvalidArgumentError(absl::StrCat("optimizer state: step is ", steps));
  }
  for (const auto& [name, tensor] : own) {
    if (name != kStep) tensor.copy_(given[name]);
  }
  steps_ = steps;
  return absl::OkStatus();
}

}  // namespace attnlab
