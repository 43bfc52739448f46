#include "libs/compress/hqq.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/where.h>

#include <algorithm>
#include <limits>
#include <utility>

namespace attnlab {
namespace {

constexpr double kNorm = 0.7, kBeta = 10, kGrowth = 1.01;
constexpr double kSmallestRange = 1e-4, kLargestInverseScale = 2e4;
// Numbers that a thread works on at a time: they and five buffers of their size fit its cache.
constexpr int64_t kSliceNumbers = 32768;
constexpr int64_t kSliceMultiple = 64;

struct Search {
  int steps;
  double worst;  // the first step must have less error
  bool beta_grows;
  bool stops;      // at the first step that does not help
  bool goes_back;  // to the best zero, when it stops
};

Search SearchOf(HqqSolver solver) {
  switch (solver) {
    case HqqSolver::kV2:
      return {20, 1e4, true, true, true};
    case HqqSolver::kSlow:
      return {100, 1e4, true, false, false};
    case HqqSolver::kLegacy:
      break;
  }
  return {20, std::numeric_limits<double>::infinity(), false, true, false};
}

// The view with the buffers of a search.
class Groups {
 public:
  Groups(const at::Tensor& view, const HqqOptions& options)
      : view_(view),
        axis_(options.axis),
        max_code_((int64_t{1} << options.bits) - 1),
        errors_(at::empty_like(view)) {
    const at::Tensor low = view.amin(axis_, true), range = view.amax(axis_, true) - low;
    inverse_scale_ = at::where(range.abs().le(kSmallestRange), at::full_like(range, 1),
                               range.reciprocal().mul(max_code_))
                         .clamp_max(kLargestInverseScale);
    zero_ = low.neg() * inverse_scale_;
    if (options.bits == 4) zero_ = zero_.round();
  }

  const at::Tensor& zero() const { return zero_; }
  void set_zero(const at::Tensor& zero) { zero_ = zero; }

  // The zeros after a step, and the mean error before it.
  std::pair<at::Tensor, float> Step(double beta) {
    const int64_t across = 1 - axis_, count = view_.size(across);
    const int64_t slice = std::max<int64_t>(
        kSliceNumbers / view_.size(axis_) / kSliceMultiple * kSliceMultiple, kSliceMultiple);
    at::Tensor next = at::empty_like(zero_);
    if (view_.is_cpu()) {
      at::parallel_for(0, (count + slice - 1) / slice, 1, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          StepSlice(i * slice, std::min(slice, count - i * slice), beta, next);
        }
      });
    } else {
      StepSlice(0, count, beta, next);
    }
    return {next, errors_.mean().item<float>()};
  }

  HqqResult Result() const {
    return {Codes(view_, inverse_scale_, zero_).to(at::kByte), inverse_scale_.reciprocal(), zero_};
  }

 private:
  at::Tensor Codes(const at::Tensor& w, const at::Tensor& s, const at::Tensor& z) const {
    return (w * s).add_(z).round_().clamp_(0, max_code_);
  }

  // Operator by operator what the package computes, in its order; only the buffers are reused.
  void StepSlice(int64_t begin, int64_t length, double beta, at::Tensor& next) const {
    const auto part = [&](const at::Tensor& x) { return x.narrow(1 - axis_, begin, length); };
    const at::Tensor w = part(view_), s = part(inverse_scale_), z = part(zero_);
    const at::Tensor codes = Codes(w, s, z);
    const at::Tensor rest = (codes - z).div_(s).neg_().add_(w);  // W - R
    at::Tensor magnitude = rest.abs();
    part(errors_).copy_(magnitude);
    magnitude.sub_(magnitude.pow(kNorm - 1).mul_(1 / beta)).clamp_min_(0);
    const at::Tensor shrunk = rest.sign_().mul_(magnitude);
    const at::Tensor moved = shrunk.neg_().add_(w).mul_(s).neg_().add_(codes);
    part(next).copy_(moved.mean(axis_, true));
  }

  const at::Tensor view_;
  const int64_t axis_, max_code_;
  at::Tensor errors_, inverse_scale_, zero_;
};

}  // namespace

HqqResult SolveHqq(const at::Tensor& view, const HqqOptions& options) {
  const Search search = SearchOf(options.solver);
  Groups groups(view, options);
  at::Tensor best = groups.zero();
  float least = static_cast<float>(search.worst);
  double beta = kBeta;
  for (int step = 0; step < search.steps; ++step) {
    const auto [next, error] = groups.Step(beta);  // the error of the zeros before the step
    const bool helped = error < least;
    if (helped) {
      least = error;
      best = groups.zero();
    }
    const bool last = search.stops && !helped;
    groups.set_zero(last && search.goes_back ? best : next);
    if (last) break;
    if (search.beta_grows) beta *= kGrowth;
  }
  return groups.Result();
}

}  // namespace attnlab
