// The accumulators against hand-made maps and matrices with known answers, and against the formulas
// computed the long way round (reference_metrics.h).
#include <cmath>
#include <limits>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "libs/analysis/float_histogram.h"
#include "libs/analysis/head_attention.h"
#include "libs/analysis/hidden_stats.h"
#include "libs/analysis/moments.h"
#include "libs/core/rng.h"
#include "tests/analysis/reference_metrics.h"

namespace attnlab {
namespace {

using naive::Map;
using testing::DoubleNear;

std::vector<float> Draw(Rng& rng, size_t count, double scale = 1, double mean = 0) {
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(mean + scale * rng.Normal());
  return values;
}

std::vector<double> Doubles(absl::Span<const float> values) {
  return {values.begin(), values.end()};
}

// Rows of weights of `length` tokens; half of the weights are 0, some rows wholly, and rows need
// not sum to 1.
Map DrawMap(Rng& rng, int length) {
  Map map(length, std::vector<double>(length));
  for (int i = 0; i < length; ++i) {
    if (i % 7 == 3) continue;
    for (int j = 0; j <= i; ++j) {
      const double weight = std::max(0.0, rng.Normal());
      map[i][j] = static_cast<float>((j == 0 ? 6 : 1) * weight * weight / (i + 1));
    }
  }
  return map;
}

void Feed(const Map& map, HeadAttention& head, bool (*selected)(size_t) = nullptr) {
  head.BeginSequence(static_cast<int64_t>(map.size()));
  for (size_t i = 0; i < map.size(); ++i) {
    std::vector<float> row(map[i].begin(), map[i].begin() + static_cast<int64_t>(i) + 1);
    head.AddRow(row, selected != nullptr && selected(i));
  }
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

// 4 queries; the first column is 1, 0.5, 0.25, 0.05 (mean 0.45), column 1 is 0.5, 0.25, 0.95.
TEST(HeadAttention, HandMadeMap) {
  AttentionMetricOptions options;
  options.lengths = {2, 3, 0};
  options.thresholds = {0.4, 0.5, 0.75};
  HeadAttention head(options);
  Feed({{1, 0, 0, 0}, {0.5, 0.5, 0, 0}, {0.25, 0.25, 0.5, 0}, {0.05, 0.95, 0, 0}}, head,
       [](size_t query) { return query >= 2; });
  const HeadSummary summary = head.Summary();
  // T = 2: 0.75; T = 3: 1.75 / 3 = 0.583; T = 4: 0.45.
  const bool expected[3][3] = {{1, 1, 0}, {1, 1, 0}, {1, 0, 0}};
  for (int i = 0; i < 3; ++i) {
    for (int e = 0; e < 3; ++e) {
      EXPECT_EQ(summary.sinks[i * 3 + e].rate, expected[i][e]) << i << " " << e;
      EXPECT_EQ(summary.sinks[i * 3 + e].sequences, 1);
    }
  }
  EXPECT_NEAR(summary.first_key_mass, 0.45, 1e-7);
  EXPECT_NEAR(summary.selected_first_mass, 0.15, 1e-7);
  EXPECT_NEAR(summary.first_key_argmax, 0.5, 1e-12);  // rows 0 and, by the first of equals, 1
  EXPECT_NEAR(summary.missing_mass, 0, 1e-7);
  EXPECT_NEAR(summary.zero_share, 0.2, 1e-12);  // 2 of 10: keys 2 and 3 of row 3
  EXPECT_EQ(summary.empty_rows, 0);
  EXPECT_LT(summary.largest_row_error, 1e-6);
  // Over keys 0 .. 2 at T = 4 and eps 0.5, only key 1 is a sink: (0.5 + 0.25 + 0.95) / 3 = 0.567.
  const HeadAttention* heads[] = {&head};
  EXPECT_EQ(FindStrongestSink(heads, 2, 1, false).key, 1);
  EXPECT_EQ(FindStrongestSink(heads, 2, 1, false).rate, 1);
  EXPECT_EQ(FindStrongestSink(heads, 2, 2, false).rate, 0);
}

TEST(HeadAttention, ThresholdIsStrict) {
  AttentionMetricOptions options;
  options.lengths = {0};
  options.thresholds = {0.75};
  HeadAttention head(options);
  Feed({{1, 0}, {0.5, 0.5}}, head);
  EXPECT_EQ(head.Summary().sinks[0].rate, 0);
}

TEST(HeadAttention, RandomMapsAgainstTheFormulas) {
  Rng rng(3, "maps");
  AttentionMetricOptions options;
  options.lengths = {8, 20, 0};
  options.thresholds = {0.05, 0.1, 0.2, 0.3};
  HeadAttention head(options);
  std::vector<Map> maps;
  for (int length : {24, 31, 12, 24, 5, 40}) maps.push_back(DrawMap(rng, length));
  for (const Map& map : maps) Feed(map, head);
  const HeadSummary summary = head.Summary();
  const HeadAttention* heads[] = {&head};
  for (size_t i = 0; i < options.lengths.size(); ++i) {
    for (size_t e = 0; e < options.thresholds.size(); ++e) {
      double hits = 0, proxy_hits = 0, count = 0;
      std::vector<double> key_hits(64);
      for (const Map& map : maps) {
        const int whole = static_cast<int>(map.size());
        const int tokens = options.lengths[i] == 0 ? whole : static_cast<int>(options.lengths[i]);
        if (tokens > whole) continue;
        ++count;
        hits += naive::Alpha(map, tokens, 0) > options.thresholds[e];
        proxy_hits += naive::Alpha(naive::Proxy(map), tokens, 0) > options.thresholds[e];
        for (int key = 0; key <= tokens / 2; ++key) {
          key_hits[key] += naive::Alpha(map, tokens, key) > options.thresholds[e];
        }
      }
      const SinkRate& sink = summary.sinks[i * options.thresholds.size() + e];
      EXPECT_EQ(sink.sequences, count);
      EXPECT_EQ(sink.rate, hits / count);
      EXPECT_EQ(sink.proxy_rate, proxy_hits / count);
      EXPECT_EQ(FindStrongestSink(heads, i, e, false).rate,
                *std::max_element(key_hits.begin(), key_hits.end()) / count);
    }
  }
  EXPECT_EQ(summary.zero_share, naive::TriangleShare(maps, [](double a) { return a == 0; }));
  EXPECT_EQ(summary.near_zero_share,
            naive::TriangleShare(maps, [](double a) { return std::abs(a) <= 1e-5f; }));
  double rows = 0, mass = 0, first = 0, argmax = 0, empty = 0;
  for (const Map& map : maps) {
    for (const std::vector<double>& row : map) {
      double sum = 0;
      for (double weight : row) sum += weight;
      ++rows;
      mass += sum;
      first += row[0];
      empty += sum == 0;
      argmax += sum > 0 && std::max_element(row.begin(), row.end()) == row.begin();
    }
  }
  EXPECT_NEAR(summary.missing_mass, 1 - mass / rows, 1e-12);
  EXPECT_NEAR(summary.first_key_mass, first / rows, 1e-12);
  EXPECT_NEAR(summary.first_key_argmax, argmax / rows, 1e-12);
  EXPECT_NEAR(summary.empty_rows, empty / rows, 1e-12);
}

// What float16 makes of small weights decides, not what float32 holds.
TEST(HeadAttention, UnderflowOfFloat16) {
  AttentionMetricOptions options;
  options.lengths = {0};
  HeadAttention head(options);
  head.BeginSequence(1);
  head.AddRow({0x1p-25f}, false);
  head.BeginSequence(1);
  head.AddRow({std::nextafter(0x1p-25f, 1.0f)}, false);
  EXPECT_EQ(head.Summary().half_zero_share, 0.5);
  EXPECT_EQ(head.Summary().zero_share, 0);
  EXPECT_EQ(head.Summary().near_zero_share, 1);
}

TEST(HeadAttention, WithoutCausalMaskWholeSequencesCount) {
  AttentionMetricOptions options;
  options.lengths = {2, 0};
  options.thresholds = {0.4};
  options.causal = false;
  HeadAttention head(options);
  head.BeginSequence(3);
  for (int i = 0; i < 3; ++i) head.AddRow({0.5f, 0.25f, 0.25f}, false);
  EXPECT_EQ(head.Summary().sinks[0].sequences, 0);
  EXPECT_EQ(head.Summary().sinks[1].sequences, 1);
  EXPECT_EQ(head.Summary().sinks[1].rate, 1);
}

TEST(OffTokens, CountsSilentTokens) {
  OffTokens off({1e-6, 1e-2});
  off.Add({0, 0, 0});
  off.Add({0, -5e-3f, 0});
  off.Add({0, 0, 0.5f});
  off.Add({0, 1e-2f, 0});  // not below the threshold
  EXPECT_EQ(off.Share(0), 0.25);
  EXPECT_EQ(off.Share(1), 0.5);
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
    stats.AddSequence(values);
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
