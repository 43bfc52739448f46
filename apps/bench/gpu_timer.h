// Times of work on a CUDA device, by events on its stream.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "apps/bench/gpu_state.h"

namespace attnlab {

struct Timing {
  double seconds = kNotMeasured;  // median
  double spread = kNotMeasured;   // third quartile - first, of the median
};

// Median and quartiles of `samples`, which are not empty.
Timing TimingOf(std::vector<double> samples);

class GpuTimer {
 public:
  explicit GpuTimer(at::Device device);

  // The middle of at most `turns` times of each body, after two runs that do not count; fewer, but
  // at least 3, where all would take more than 3 seconds. In a turn each body runs once, so that
  // clocks and heat drift alike for all. Before every body 512 MiB are read: nothing of its
  // inputs is in the L2 cache then, and the processor has the time to launch ahead, so that what it
  // takes for that is not measured. A body gets the number of its turn, from 0.
  std::vector<Timing> InTurns(int64_t turns,
                              const std::vector<std::function<void(int64_t)>>& bodies) const;

  // Of the device, while the last of InTurns ran.
  Clocks clocks() const { return clocks_; }
  const GpuState& state() const { return state_; }

  // FLOP/s of a bfloat16 product of two matrices of 8192 by 8192 normal numbers.
  double MatrixProductRate() const;
  // Bytes a second, read and written, of a copy of 2 GiB on the device.
  double CopyBandwidth() const;

 private:
  std::vector<std::vector<double>> Measure(
      int64_t turns, const std::vector<std::function<void(int64_t)>>& bodies) const;

  const at::Device device_;
  const GpuState state_;
  const at::Tensor flushing_;
  mutable Clocks clocks_;
};

}  // namespace attnlab
