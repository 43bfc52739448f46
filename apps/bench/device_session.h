// What a bench on one CUDA device holds from its first line to its last: the device and what it
// reaches, the record, the checks that were made, the count of kernels that failed theirs.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "apps/bench/device_check.h"
#include "apps/bench/flags.h"
#include "apps/bench/gpu_timer.h"
#include "apps/bench/plan.h"
#include "apps/bench/record.h"

namespace attnlab {

class DeviceSession {
 public:
  // Measures what `kind` is held against, and prints it with the names and clocks of the device.
  static absl::StatusOr<DeviceSession> Open(BenchKind kind, at::Device device,
                                            const BenchFlags& flags);

  at::Device device() const { return device_; }
  const GpuTimer& timer() const { return *timer_; }
  // FLOP/s of the matrix product, or bytes a second of the copy.
  double reach() const { return reach_; }

  // What runs `contender` on `inputs`; nothing, which is logged, where a pass has no kernel.
  std::optional<KernelNames> Kernels(const Contender& contender, const Inputs& inputs) const;

  // The deviations of `contender` on a smaller problem like `inputs`, once each. Null when they are
  // too large, which is logged and makes RunToEnd fail.
  const Deviations* Check(const Contender& contender, const Inputs& inputs);

  // A row about `inputs`: shape, dtype, clocks.
  Measurement RowFor(const Inputs& inputs, const AttentionOptions& options) const;

  // Prints and records.
  absl::Status Add(const std::vector<Measurement>& rows);

  // Runs `body` and ends the record: what it returns or throws, or Internal when a check failed.
  absl::Status RunToEnd(const std::function<absl::Status()>& body);

 private:
  DeviceSession(BenchKind kind, at::Device device, int arch, BenchRecord record)
      : kind_(kind), device_(device), arch_(arch), record_(std::move(record)) {}
  absl::Status Measure();

  BenchKind kind_;
  at::Device device_;
  int arch_;
  BenchRecord record_;
  std::unique_ptr<GpuTimer> timer_;
  double reach_ = kNotMeasured;
  std::map<std::string, std::optional<Deviations>> checks_;
  int64_t wrong_ = 0;
};

// The problem of the check before `shape` is timed: one sequence of at most 500 queries, no
// multiple of a tile, after 300 keys more. Without these the first rows see a handful of keys, and
// where they divide by a denominator near 0 (softpick, scores near 0) the largest error of a
// problem is the luck of one rounding, in LibTorch's operators too;
// tests/attention/gpu_kernel_test.cc has them.
Shape CheckShape(BenchKind kind, Shape shape);

// The device that `flags` ask for; InvalidArgument when it is not there.
absl::StatusOr<at::Device> DeviceOf(const BenchFlags& flags);

// Every variant of `lists` with every kernel, on `heads` heads of `device`.
std::vector<Contender> ContendersOf(const BenchLists& lists, bool causal, int64_t heads,
                                    at::Device device);

}  // namespace attnlab
