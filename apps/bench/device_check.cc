#include "apps/bench/device_check.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "libs/attention/blocked.h"
#include "libs/attention/reference.h"
#include "libs/core/status.h"

namespace attnlab {
namespace {

constexpr double kSlack = 1e-6;  // of the largest number

// Output and gradients by q, k, v.
struct Outcome {
  at::Tensor out;
  std::vector<at::Tensor> gradients;
};

// AttentionReference with operands of `type`, differentiated by LibTorch.
Outcome Dense(const Inputs& inputs, const Contender& contender, at::ScalarType type,
              bool gradients) {
  const auto leaf = [&](const at::Tensor& t) {
    return t.detach().to(type, /*non_blocking=*/false, /*copy=*/true).requires_grad_(gradients);
  };
  const at::Tensor q = leaf(inputs.q), k = leaf(inputs.k), v = leaf(inputs.v);
  std::vector<at::Tensor> learned;
  for (const at::Tensor& t : contender.learned) learned.push_back(t.to(type));
  const at::Tensor out = AttentionReference(q, k, v, contender.options, learned);
  if (!gradients) return {out, {}};
  out.backward(inputs.out_grad.to(type));
  return {out.detach(), {q.grad(), k.grad(), v.grad()}};
}

// What LibTorch's operators make of it in the dtype of the kernel.
Outcome Plain(const Inputs& inputs, const Contender& contender, bool gradients) {
  if (inputs.q.scalar_type() == at::kFloat) return Dense(inputs, contender, at::kFloat, gradients);
  const auto narrow = [](const at::Tensor& t) { return t.to(at::kBFloat16); };
  const at::Tensor q = narrow(inputs.q), k = narrow(inputs.k), v = narrow(inputs.v);
  const BlockedOutput forward = BlockedForward(q, k, v, contender.options, contender.learned);
  if (!gradients) return {narrow(forward.out), {}};
  const AttentionGradients result = BlockedBackward(narrow(inputs.out_grad), q, k, v, forward,
                                                    contender.options, contender.learned);
  return {narrow(forward.out), {narrow(result.q), narrow(result.k), narrow(result.v)}};
}

double Distance(const at::Tensor& a, const at::Tensor& exact) {
  return a.to(at::kDouble).sub(exact).abs().max().item<double>();
}

// Error and ratio of `got`, or what is wrong with it.
absl::Status Compare(const char* what, const at::Tensor& got, const at::Tensor& plain,
                     const at::Tensor& exact, double& error, double& ratio) {
  const double worst = Distance(got, exact);
  const double scale = got.scalar_type() == at::kHalf ? 0.125 : 1.0;
  const double of_plain =
      scale * Distance(plain, exact) + kSlack / kMostRatio * exact.abs().max().item<double>();
  if (!(worst <= kMostRatio * of_plain)) {
    return absl::InternalError(absl::StrCat(what, " is off by ", worst, ", LibTorch by ", of_plain,
                                            "; allowed is ", kMostRatio, " times that"));
  }
  if (worst / of_plain >= ratio) {
    error = worst;
    ratio = worst / of_plain;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Deviations> CheckOnDevice(const Contender& contender, const Shape& shape,
                                         at::TensorOptions options, bool gradients) {
  const Inputs inputs = RandomInputs(shape, options, at::kBFloat16);
  DeviceProblem problem(inputs, contender, gradients);
  try {
    if (gradients) {
      problem.Forward();
      problem.Backward();
    } else {
      problem.Decode();
    }
  } catch (const std::exception& error) {
    return absl::InternalError(error.what());
  }
  const Outcome exact = Dense(inputs, contender, at::kDouble, gradients);
  const Outcome plain = Plain(inputs, contender, gradients);
  Deviations d;
  ATTNLAB_RETURN_IF_ERROR(
      Compare("out", problem.out(), plain.out, exact.out, d.forward, d.forward_ratio));
  const char* const names[] = {"dQ", "dK", "dV"};
  for (size_t i = 0; i < exact.gradients.size(); ++i) {
    ATTNLAB_RETURN_IF_ERROR(Compare(names[i], problem.gradients()[i], plain.gradients[i],
                                    exact.gradients[i], d.backward, d.backward_ratio));
  }
  return d;
}

}  // namespace attnlab
