// Means and their standard errors, as evaluation harnesses report them.
#pragma once

#include <cmath>
#include <limits>

#include "absl/types/span.h"

namespace attnlab {

inline double Mean(absl::Span<const double> values) {
  double sum = 0;
  for (double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

// s / sqrt(n) with the sample standard deviation s (n - 1); NaN for fewer than two values.
inline double StandardError(absl::Span<const double> values) {
  if (values.size() < 2) return std::numeric_limits<double>::quiet_NaN();
  const double mean = Mean(values), n = static_cast<double>(values.size());
  double squares = 0;
  for (double value : values) squares += (value - mean) * (value - mean);
  return std::sqrt(squares / (n - 1) / n);
}

}  // namespace attnlab
