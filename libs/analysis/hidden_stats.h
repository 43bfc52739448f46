// What one layer's hidden states look like over many sequences: extremes, quartiles, massive
// activations (Sun et al. 2024, arXiv:2402.17762) and the kurtosis in the four definitions that the
// literature uses. docs/metrics.md has every formula.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "libs/analysis/float_histogram.h"
#include "libs/analysis/moments.h"

namespace attnlab {

// Means over tokens or sequences; NaN where nothing was measured.
struct HiddenSummary {
  int64_t sequences = 0, tokens = 0;
  double min = 0, q1 = 0, median = 0, q3 = 0, max = 0;  // of all values
  double max_abs = 0;
  double inf_norm = 0;              // max |x| of a sequence, mean over sequences
  double top_over_median = 0;       // max |x| / median |x| of a sequence, mean over sequences
  double first_norm_ratio = 0;      // |h_first| / median of |h_t| over later t, mean over sequences
  double first_norm_over_mean = 0;  // the same over the mean of the later t
  double massive = 0;               // values a sequence with |x| > 100 and |x| >= 1000 median |x|
  double massive_relative = 0;      // values a sequence with |x| >= 1000 median |x|
  double kurtosis_pooled = 0;       // all values as one sample, m4 / m2^2
  double kurtosis_token = 0;     // m4 / (s^4 + 1e-6) over the features of a token, mean over tokens
  double kurtosis_sequence = 0;  // the same over all values of a sequence, mean over sequences
  double kurtosis_excess = 0;    // max(0, E[x^4] / sd^4 - 3) over the features, mean over tokens
  double kurtosis_neuron = 0;    // of the root mean squares of the features; 1 = all alike
};

class HiddenStats {
 public:
  explicit HiddenStats(int64_t features) : features_(features), squares_(features) {}

  // One sequence without its padding.
  void AddSequence(absl::Span<const float> values);  // [tokens, features]

  // Those of other sequences, with as many features.
  void Merge(const HiddenStats& other);

  const Moments& moments() const { return pooled_; }
  HiddenSummary Summary() const;

 private:
  void AddMagnitudes(absl::Span<const float> values);

  const int64_t features_;
  int64_t sequences_ = 0, tokens_ = 0;
  Moments pooled_;
  FloatHistogram histogram_;
  std::vector<double> squares_;  // [features], sums over all tokens
  std::vector<float> scratch_;
  double token_kurtosis_ = 0, excess_kurtosis_ = 0, sequence_kurtosis_ = 0;
  double inf_norm_ = 0, top_over_median_ = 0, first_norm_ratio_ = 0, first_norm_over_mean_ = 0;
  int64_t massive_ = 0, massive_relative_ = 0, ratio_sequences_ = 0;
};

// first / (mean or median of the rest); NaN with less than two values.
double FirstOverMean(absl::Span<const double> norms);
double FirstOverMedian(absl::Span<const double> norms);

// The Euclidean norms of the rows of `values`.
std::vector<double> RowNorms(absl::Span<const float> values, int64_t features);

}  // namespace attnlab
