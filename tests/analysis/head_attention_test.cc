// The weights of a head against hand-made maps with known answers, and against the formulas
// computed the long way round (reference_metrics.h).
#include "libs/analysis/head_attention.h"

#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "libs/core/rng.h"
#include "tests/analysis/reference_metrics.h"

namespace attnlab {
namespace {

using naive::Map;

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

}  // namespace
}  // namespace attnlab
