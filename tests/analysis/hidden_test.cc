// Moments, quantiles and hidden states against the formulas computed the long way round
// (reference_metrics.h).
#include <algorithm>
#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "libs/analysis/float_histogram.h"
#include "libs/analysis/hidden_stats.h"
#include "libs/analysis/moments.h"
#include "libs/core/rng.h"
#include "tests/analysis/reference_metrics.h"

namespace attnlab {
namespace {

std::vector<float> Draw(Rng& rng, size_t count, double scale = 1, double mean = 0) {
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(mean + scale * rng.Normal());
  return values;
}

std::vector<double> Doubles(absl::Span<const float> values) {
  return {values.begin(), values.end()};
}

TEST(Moments, MatchesTheFormulas) {
  Rng rng(1, "moments");
  const std::vector<float> values = Draw(rng, 1001, 0.5, 3);
  Moments merged;
  for (size_t begin = 0; begin < values.size(); begin += 77) {
    merged.Merge(Moments::Of(absl::MakeConstSpan(values).subspan(begin, 77)));
  }
  const std::vector<double> exact = Doubles(values);
  EXPECT_EQ(merged.count(), 1001);
  EXPECT_NEAR(merged.mean(), naive::Mean(exact), 1e-12);
  EXPECT_NEAR(merged.Variance(), naive::Moment(exact, naive::Mean(exact), 2), 1e-12);
  EXPECT_NEAR(merged.RawFourthMoment(), naive::Moment(exact, 0, 4), 1e-9);
  EXPECT_NEAR(merged.Kurtosis(), naive::Kurtosis(exact), 1e-11);
  EXPECT_EQ(merged.min(), *std::min_element(values.begin(), values.end()));
  EXPECT_EQ(merged.max(), *std::max_element(values.begin(), values.end()));
}

TEST(Moments, KnownKurtoses) {
  EXPECT_DOUBLE_EQ(Moments::Of({-1, 1, -1, 1}).Kurtosis(), 1);
  // One spike among n - 1 zeros: kurtosis n - 2 + 1 / (n - 1).
  std::vector<float> spike(100, 0);
  spike[17] = 5;
  EXPECT_NEAR(Moments::Of(spike).Kurtosis(), 98 + 1.0 / 99, 1e-10);
  EXPECT_TRUE(std::isnan(Moments::Of({2, 2}).Kurtosis()));
  // A mean far above the spread must not cancel.
  EXPECT_NEAR(Moments::Of({1e6f - 1, 1e6f + 1}).Kurtosis(), 1, 1e-12);
}

TEST(FloatHistogram, QuantilesWithinABin) {
  Rng rng(2, "histogram");
  std::vector<float> values = Draw(rng, 20001, 3);
  FloatHistogram whole, parts;
  whole.Add(values);
  for (size_t begin = 0; begin < values.size(); begin += 1000) {
    FloatHistogram part;
    part.Add(absl::MakeConstSpan(values).subspan(begin, 1000));
    parts.Merge(part);
  }
  std::sort(values.begin(), values.end());
  for (double p : {0.0, 0.01, 0.25, 0.5, 0.75, 0.99, 1.0}) {
    const double exact = values[std::lround(p * 20000)];
    EXPECT_NEAR(whole.Quantile(p), exact, std::abs(exact) / 100 + 1e-4) << p;
    EXPECT_EQ(whole.Quantile(p), parts.Quantile(p)) << p;
  }
}

TEST(FloatHistogram, SignsAndZero) {
  FloatHistogram histogram;
  histogram.Add({-100, -1, 0, 1, 100});
  EXPECT_NEAR(histogram.Quantile(0), -100, 1);
  EXPECT_NEAR(histogram.Quantile(0.25), -1, 0.01);
  EXPECT_NEAR(histogram.Quantile(0.5), 0, 1e-30);
  EXPECT_NEAR(histogram.Quantile(1), 100, 1);
  EXPECT_TRUE(std::isnan(FloatHistogram().Quantile(0.5)));
}

TEST(HiddenStats, RandomStatesAgainstTheFormulas) {
  Rng rng(4, "hidden");
  constexpr int64_t kFeatures = 24;
  HiddenStats stats(kFeatures);
  std::vector<double> pooled, token_kurtosis, excess, sequence_kurtosis, top, ratio, over_mean, inf;
  std::vector<std::vector<double>> columns(kFeatures);
  double massive = 0, massive_relative = 0;
  for (int64_t length : {5, 9, 16}) {
    std::vector<float> values = Draw(rng, length * kFeatures, 0.01, 0.002);
    values[3] = 120;   // a massive activation on the first token
    values[40] = -15;  // a relative one
    HiddenStats part(kFeatures);  // by itself, as the sequences of a batch are
    part.AddSequence(values);
    stats.Merge(part);
    const std::vector<double> exact = Doubles(values);
    pooled.insert(pooled.end(), exact.begin(), exact.end());
    sequence_kurtosis.push_back(naive::BondarenkoKurtosis(exact));
    std::vector<double> magnitudes, norms;
    for (double value : exact) magnitudes.push_back(std::abs(value));
    const double median = naive::Median(magnitudes);
    inf.push_back(*std::max_element(magnitudes.begin(), magnitudes.end()));
    top.push_back(inf.back() / median);
    for (double value : magnitudes) {
      massive_relative += value >= 1000 * median;
      massive += value >= 1000 * median && value > 100;
    }
    for (int64_t t = 0; t < length; ++t) {
      const std::vector<double> token(exact.begin() + t * kFeatures,
                                      exact.begin() + (t + 1) * kFeatures);
      token_kurtosis.push_back(naive::BondarenkoKurtosis(token));
      excess.push_back(naive::ExcessKurtosis(token));
      norms.push_back(std::sqrt(naive::Moment(token, 0, 2) * kFeatures));
      for (int64_t i = 0; i < kFeatures; ++i) columns[i].push_back(token[i]);
    }
    const std::vector<double> later(norms.begin() + 1, norms.end());
    ratio.push_back(norms[0] / naive::Median(later));
    over_mean.push_back(norms[0] / naive::Mean(later));
  }
  std::vector<double> rms;
  for (const std::vector<double>& column : columns) {
    rms.push_back(std::sqrt(naive::Moment(column, 0, 2)));
  }
  const HiddenSummary summary = stats.Summary();
  EXPECT_EQ(summary.tokens, 30);
  EXPECT_EQ(summary.max, 120);
  EXPECT_EQ(summary.min, -15);
  EXPECT_NEAR(summary.kurtosis_pooled, naive::Kurtosis(pooled), 1e-8);
  EXPECT_NEAR(summary.kurtosis_token, naive::Mean(token_kurtosis), 1e-9);
  EXPECT_NEAR(summary.kurtosis_excess, naive::Mean(excess), 1e-9);
  EXPECT_NEAR(summary.kurtosis_sequence, naive::Mean(sequence_kurtosis), 1e-9);
  EXPECT_NEAR(summary.kurtosis_neuron,
              naive::Moment(rms, 0, 4) / std::pow(naive::Moment(rms, 0, 2), 2), 1e-10);
  EXPECT_NEAR(summary.top_over_median / naive::Mean(top), 1, 1e-12);
  EXPECT_NEAR(summary.first_norm_ratio / naive::Mean(ratio), 1, 1e-12);
  EXPECT_NEAR(summary.first_norm_over_mean / naive::Mean(over_mean), 1, 1e-12);
  EXPECT_NEAR(summary.inf_norm, 120, 1e-12);
  EXPECT_EQ(summary.massive, massive / 3);
  EXPECT_EQ(summary.massive_relative, massive_relative / 3);
  EXPECT_EQ(massive, 3);
  EXPECT_EQ(massive_relative, 6);
  EXPECT_NEAR(summary.median, naive::Median(pooled), 1e-4);
}

TEST(HiddenStats, FlatNeuronsAndSingleTokens) {
  HiddenStats stats(4);
  stats.AddSequence({1, -1, 1, -1});
  const HiddenSummary summary = stats.Summary();
  EXPECT_DOUBLE_EQ(summary.kurtosis_neuron, 1);
  EXPECT_TRUE(std::isnan(summary.first_norm_ratio));  // no later token
  EXPECT_EQ(summary.kurtosis_excess, 0);              // 1 - 3, clamped
}

TEST(FirstOverMean, LeavesTheFirstOut) {
  EXPECT_DOUBLE_EQ(FirstOverMean({6, 1, 3}), 3);
  EXPECT_DOUBLE_EQ(FirstOverMedian({6, 1, 3, 8}), 2);
  EXPECT_TRUE(std::isnan(FirstOverMean({6})));
}

}  // namespace
}  // namespace attnlab
