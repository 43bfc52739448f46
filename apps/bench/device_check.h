// The check before the timing: our kernel against float64 on the device.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "apps/bench/device_problem.h"

namespace attnlab {

// The largest error against AttentionReference in float64, and its ratio to the largest error of
// LibTorch's operators on 16-bit operands (libs/attention/blocked.h: products of bfloat16 numbers
// summed in float32, with weights and score gradients rounded to bfloat16; an eighth of that for
// float16, which has three bits more), or of AttentionReference in float32. Of dQ, dK and dV the
// worst ratio and its error.
struct Deviations {
  double forward = 0, forward_ratio = 0;
  double backward = 0, backward_ratio = 0;
};

inline constexpr double kMostRatio = 2;

// Of `contender` on random numbers of `shape`. Internal when an error is above kMostRatio times
// that of LibTorch (and 1e-6 of the largest number), or when the kernel does not run. With
// `gradients` the backward too; else it decodes.
absl::StatusOr<Deviations> CheckOnDevice(const Contender& contender, const Shape& shape,
                                         at::TensorOptions options, bool gradients);

}  // namespace attnlab
