#include "libs/analysis/hidden_stats.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "libs/core/check.h"

namespace attnlab {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kKurtosisEpsilon = 1e-6;  // Bondarenko et al. 2023
constexpr double kMassiveAbsolute = 100;   // Sun et al. 2024
constexpr double kMassiveRelative = 1000;  // Sun et al. 2024

double StabilisedKurtosis(const Moments& moments) {
  const double variance = moments.UnbiasedVariance();
  return moments.FourthMoment() / (variance * variance + kKurtosisEpsilon);
}

// A token whose features are all equal has no shape and counts as 0.
double ExcessKurtosis(const Moments& moments) {
  const double variance = moments.Variance();
  if (variance == 0) return 0;
  return std::max(0.0, moments.RawFourthMoment() / (variance * variance) - 3);
}

// The median of `values`, which it reorders: the mean of the middle two when their number is even.
template <class T>
double Median(std::vector<T>& values) {
  const auto middle = values.begin() + static_cast<int64_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  const double upper = *middle;
  if (values.size() % 2 == 1) return upper;
  return (upper + *std::max_element(values.begin(), middle)) / 2;
}

}  // namespace

std::vector<double> RowNorms(absl::Span<const float> values, int64_t features) {
  std::vector<double> norms;
  for (size_t begin = 0; begin < values.size(); begin += features) {
    double sum = 0;
    for (float value : values.subspan(begin, features)) sum += double{value} * value;
    norms.push_back(std::sqrt(sum));
  }
  return norms;
}

double FirstOverMean(absl::Span<const double> norms) {
  if (norms.size() < 2) return kNan;
  double sum = 0;
  for (double norm : norms.subspan(1)) sum += norm;
  return norms[0] / (sum / static_cast<double>(norms.size() - 1));
}

double FirstOverMedian(absl::Span<const double> norms) {
  if (norms.size() < 2) return kNan;
  std::vector<double> rest(norms.begin() + 1, norms.end());
  return norms[0] / Median(rest);
}

void HiddenStats::AddSequence(absl::Span<const float> values) {
  ATTNLAB_CHECK(!values.empty() && values.size() % features_ == 0);
  ++sequences_;
  Moments sequence;
  for (size_t begin = 0; begin < values.size(); begin += features_) {
    const absl::Span<const float> token = values.subspan(begin, features_);
    const Moments moments = Moments::Of(token);
    token_kurtosis_ += StabilisedKurtosis(moments);
    excess_kurtosis_ += ExcessKurtosis(moments);
    sequence.Merge(moments);
    for (int64_t i = 0; i < features_; ++i) squares_[i] += double{token[i]} * token[i];
    ++tokens_;
  }
  sequence_kurtosis_ += StabilisedKurtosis(sequence);
  inf_norm_ += sequence.max_abs();
  pooled_.Merge(sequence);
  histogram_.Add(values);
  AddMagnitudes(values);
  const std::vector<double> norms = RowNorms(values, features_);
  if (norms.size() < 2) return;
  first_norm_ratio_ += FirstOverMedian(norms);
  first_norm_over_mean_ += FirstOverMean(norms);
  ++ratio_sequences_;
}

void HiddenStats::Merge(const HiddenStats& other) {
  ATTNLAB_CHECK(features_ == other.features_);
  sequences_ += other.sequences_;
  tokens_ += other.tokens_;
  pooled_.Merge(other.pooled_);
  histogram_.Merge(other.histogram_);
  for (int64_t i = 0; i < features_; ++i) squares_[i] += other.squares_[i];
  token_kurtosis_ += other.token_kurtosis_;
  excess_kurtosis_ += other.excess_kurtosis_;
  sequence_kurtosis_ += other.sequence_kurtosis_;
  inf_norm_ += other.inf_norm_;
  top_over_median_ += other.top_over_median_;
  first_norm_ratio_ += other.first_norm_ratio_;
  first_norm_over_mean_ += other.first_norm_over_mean_;
  massive_ += other.massive_;
  massive_relative_ += other.massive_relative_;
  ratio_sequences_ += other.ratio_sequences_;
}

void HiddenStats::AddMagnitudes(absl::Span<const float> values) {
  scratch_.assign(values.begin(), values.end());
  for (float& value : scratch_) value = std::abs(value);
  const double top = *std::max_element(scratch_.begin(), scratch_.end());
  const double median = Median(scratch_);
  top_over_median_ += top / median;
  for (float value : scratch_) {
    if (value < kMassiveRelative * median) continue;
    ++massive_relative_;
    if (value > kMassiveAbsolute) ++massive_;
  }
}

HiddenSummary HiddenStats::Summary() const {
  HiddenSummary summary;
  summary.sequences = sequences_;
  summary.tokens = tokens_;
  summary.min = pooled_.min();
  summary.max = pooled_.max();
  summary.max_abs = pooled_.max_abs();
  const auto quantile = [&](double p) {
    return std::clamp(histogram_.Quantile(p), summary.min, summary.max);
  };
  summary.q1 = quantile(0.25);
  summary.median = quantile(0.5);
  summary.q3 = quantile(0.75);
  const double sequences = static_cast<double>(sequences_), tokens = static_cast<double>(tokens_);
  summary.inf_norm = inf_norm_ / sequences;
  summary.top_over_median = top_over_median_ / sequences;
  summary.first_norm_ratio = first_norm_ratio_ / static_cast<double>(ratio_sequences_);
  summary.first_norm_over_mean = first_norm_over_mean_ / static_cast<double>(ratio_sequences_);
  summary.massive = massive_ / sequences;
  summary.massive_relative = massive_relative_ / sequences;
  summary.kurtosis_pooled = pooled_.Kurtosis();
  summary.kurtosis_token = token_kurtosis_ / tokens;
  summary.kurtosis_sequence = sequence_kurtosis_ / sequences;
  summary.kurtosis_excess = excess_kurtosis_ / tokens;
  double second = 0, fourth = 0;  // of the root mean squares of the features
  for (double square : squares_) {
    const double mean_square = square / tokens;
    second += mean_square / static_cast<double>(features_);
    fourth += mean_square * mean_square / static_cast<double>(features_);
  }
  summary.kurtosis_neuron = fourth / (second * second);
  return summary;
}

}  // namespace attnlab
