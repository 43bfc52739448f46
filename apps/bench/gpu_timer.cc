#include "apps/bench/gpu_timer.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/zeros.h>
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>

namespace attnlab {
namespace {

constexpr int64_t kFlushBytes = int64_t{512} << 20;
constexpr double kMostSeconds = 3;
constexpr int64_t kFewestTurns = 3, kRateTurns = 15;

using Bodies = std::vector<std::function<void(int64_t)>>;

// Events around one run; timing events, unlike those that only order streams.
struct Interval {
  c10::Event begin{c10::DeviceType::CUDA, c10::EventFlag::BACKEND_DEFAULT};
  c10::Event end{c10::DeviceType::CUDA, c10::EventFlag::BACKEND_DEFAULT};
};

}  // namespace

Timing TimingOf(std::vector<double> samples) {
  std::sort(samples.begin(), samples.end());
  const size_t n = samples.size();
  const double median = n % 2 == 1 ? samples[n / 2] : (samples[n / 2 - 1] + samples[n / 2]) / 2;
  return {median, (samples[3 * (n - 1) / 4] - samples[(n - 1) / 4]) / median};
}

GpuTimer::GpuTimer(at::Device device)
    : device_(device),
      state_(device.index()),
      flushing_(at::zeros({kFlushBytes / 4}, at::TensorOptions(device).dtype(at::kFloat))) {}

std::vector<std::vector<double>> GpuTimer::Measure(int64_t turns, const Bodies& bodies) const {
  const c10::impl::VirtualGuardImpl guard(c10::DeviceType::CUDA);
  const c10::Stream stream = guard.getStream(device_);
  std::vector<std::vector<Interval>> intervals(bodies.size());
  for (int64_t turn = 0; turn < turns; ++turn) {
    for (size_t i = 0; i < bodies.size(); ++i) {
      Interval& interval = intervals[i].emplace_back();
      flushing_.sum();  // read, so that nothing is left to be written back
      interval.begin.record(stream);
      bodies[i](turn);
      interval.end.record(stream);
    }
  }
  clocks_ = state_.Now();
  intervals.back().back().end.synchronize();
  std::vector<std::vector<double>> seconds(bodies.size());
  for (size_t i = 0; i < bodies.size(); ++i) {
    for (const Interval& interval : intervals[i]) {
      seconds[i].push_back(interval.begin.elapsedTime(interval.end) / 1e3);
    }
  }
  return seconds;
}

std::vector<Timing> GpuTimer::InTurns(int64_t turns, const Bodies& bodies) const {
  if (bodies.empty()) return {};
  Measure(1, bodies);  // compiles, loads, plans
  double one_turn = 0;
  for (const std::vector<double>& seconds : Measure(1, bodies)) one_turn += seconds[0];
  turns = std::clamp(static_cast<int64_t>(kMostSeconds / one_turn), kFewestTurns,
                     std::max(turns, kFewestTurns));
  std::vector<Timing> timings;
  for (const std::vector<double>& seconds : Measure(turns, bodies)) {
    timings.push_back(TimingOf(seconds));
  }
  return timings;
}

double GpuTimer::MatrixProductRate() const {
  constexpr int64_t kSize = 8192;
  const auto options = at::TensorOptions(device_).dtype(at::kBFloat16);
  const at::Tensor a = at::randn({kSize, kSize}, options), b = at::randn({kSize, kSize}, options);
  at::Tensor c = at::empty_like(a);
  const Timing timing = InTurns(kRateTurns, {[&](int64_t) { at::mm_out(c, a, b); }})[0];
  return 2.0 * kSize * kSize * kSize / timing.seconds;
}

double GpuTimer::CopyBandwidth() const {
  constexpr int64_t kBytes = int64_t{2} << 30;
  const auto options = at::TensorOptions(device_).dtype(at::kByte);
  const at::Tensor from = at::empty({kBytes}, options).zero_(), to = at::empty_like(from);
  const Timing timing = InTurns(kRateTurns, {[&](int64_t) { to.copy_(from); }})[0];
  return 2.0 * kBytes / timing.seconds;
}

}  // namespace attnlab
