// The learning rate of a step t of N, with W steps of warm-up (TorchTitan's form, as the softpick
// runs used it; Zuhri et al. 2025):
//
//     t < W:    peak (t + 1) / (W + 1)
//     cosine:   peak (floor + (1 - floor) (1 + cos(pi p)) / 2),    p = (t + 1 - W) / (N - W + 1)
//     constant: peak
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace attnlab {

struct ScheduleConfig {
  double peak = 1e-3;
  int64_t warmup = 100;
  std::string shape = "cosine";
  double floor = 0.1;

  template <class Visitor>
  void ForEach(Visitor&& visit) {
    visit("peak", peak, "learning rate after warm-up");
    visit("warmup", warmup, "steps of linear warm-up");
    visit("shape", shape, "after warm-up: constant or cosine");
    visit("floor", floor, "share of the peak at which cosine ends");
  }
};

// InvalidArgument that names the field, its value and what it must be; `steps` is the run's length.
absl::Status Validate(const ScheduleConfig& config, int64_t steps);

// The learning rate of step `step`, 0-based, of a run of `steps`. `config` is valid.
double LearningRate(const ScheduleConfig& config, int64_t step, int64_t steps);

}  // namespace attnlab
