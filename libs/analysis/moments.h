// Mean and central moments up to the fourth of a growing sample, in float64, merged by the pairwise
// formulas of Pebay 2008 (SAND2008-6212), so that no power sum cancels.
#pragma once

#include <cstdint>
#include <limits>

#include "absl/types/span.h"

namespace attnlab {

class Moments {
 public:
  // The sample `values`, in two passes.
  static Moments Of(absl::Span<const float> values);

  void Merge(const Moments& other);

  int64_t count() const { return count_; }
  double mean() const { return mean_; }
  double min() const { return min_; }  // +infinity when empty
  double max() const { return max_; }  // -infinity when empty
  double max_abs() const;              // 0 when empty

  double Variance() const;          // m2, divided by n
  double FourthMoment() const;      // m4 about the mean, divided by n
  double RawFourthMoment() const;   // E[x^4]
  double UnbiasedVariance() const;  // divided by n - 1

  // m4 / m2^2: 3 for a normal sample. NaN when all values are equal.
  double Kurtosis() const;

 private:
  int64_t count_ = 0;
  double mean_ = 0;
  double sum2_ = 0, sum3_ = 0, sum4_ = 0;  // sums of powers of (x - mean)
  double min_ = std::numeric_limits<double>::infinity();
  double max_ = -std::numeric_limits<double>::infinity();
};

}  // namespace attnlab
