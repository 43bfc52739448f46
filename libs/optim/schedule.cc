#include "libs/optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "absl/strings/str_format.h"

namespace attnlab {

absl::Status Validate(const ScheduleConfig& config, int64_t steps) {
  if (!(config.peak > 0) || !std::isfinite(config.peak)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("peak = %g: must be a positive number", config.peak));
  }
  if (config.warmup < 0 || config.warmup > steps) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "schedule.warmup = %d: must be from 0 to the %d steps of the run", config.warmup, steps));
  }
  if (config.shape != "constant" && config.shape != "cosine") {
    return absl::InvalidArgumentError(
        absl::StrFormat("shape = \"%s\": must be constant or cosine", config.shape));
  }
  if (!(config.floor >= 0 && config.floor <= 1)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("floor = %g: must be from 0 to 1", config.floor));
  }
  return absl::OkStatus();
}

double LearningRate(const ScheduleConfig& config, int64_t step, int64_t steps) {
  const double t = static_cast<double>(step), warmup = static_cast<double>(config.warmup);
  if (step < config.warmup) return config.peak * (t + 1) / (warmup + 1);
  if (config.shape == "constant") return config.peak;
  const double p = std::min(1.0, (t + 1 - warmup) / (static_cast<double>(steps) - warmup + 1));
  return config.peak *
         (config.floor + (1 - config.floor) * 0.5 * (1 + std::cos(std::numbers::pi * p)));
}

}  // namespace attnlab
