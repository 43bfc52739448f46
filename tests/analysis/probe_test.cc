// The probe on a model: against whole maps computed in float64, with padding, grouped heads and a
// synthetic task.
#include "libs/analysis/probe.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/GradMode.h>

#include <cmath>
#include <map>
#include <numeric>

#include "gtest/gtest.h"
#include "libs/analysis/analyze.h"
#include "libs/analysis/report.h"
#include "libs/core/rng.h"
#include "libs/data/batch_source.h"
#include "libs/model/transformer.h"
#include "tests/analysis/reference_metrics.h"

namespace attnlab {
namespace {

using naive::Map;

ModelConfig SmallModel(const std::string& weighting) {
  ModelConfig config;
  config.vocab_size = 65;
  config.hidden_size = 32;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  config.intermediate_size = 48;
  config.initializer_range = 0.4;  // scores far from 0
  config.attention.weighting = weighting;
  return config;
}

at::Tensor DrawTokens(Rng& rng, int64_t rows, int64_t columns) {
  std::vector<int64_t> tokens(rows * columns);
  for (int64_t& token : tokens) token = static_cast<int64_t>(rng.Below(65));
  return at::from_blob(tokens.data(), {rows, columns}, at::TensorOptions().dtype(at::kLong))
      .clone();
}

AnalysisBatch Whole(const at::Tensor& tokens) {
  AnalysisBatch batch;
  batch.columns = tokens.size(1);
  batch.lengths.assign(tokens.size(0), tokens.size(1));
  return batch;
}

// Whole maps of every layer, head and sequence, in float64 from q and k.
class MapProbe : public ForwardProbe {
 public:
  explicit MapProbe(bool softpick) : softpick_(softpick) {}

  void OnAttention(int64_t layer, const at::Tensor& q, const at::Tensor& k, const at::Tensor&,
                   const at::Tensor& out, const AttentionOptions&,
                   const std::vector<at::Tensor>&) override {
    const int64_t group = q.size(1) / k.size(1);
    for (int64_t row = 0; row < q.size(0); ++row) {
      for (int64_t head = 0; head < q.size(1); ++head) {
        const at::Tensor query = q[row][head].to(at::kDouble);
        const at::Tensor scores = query.matmul(k[row][head / group].to(at::kDouble).transpose(0, 1))
                                      .div(std::sqrt(static_cast<double>(q.size(3))));
        Map map(q.size(2), std::vector<double>(q.size(2)));
        for (size_t i = 0; i < map.size(); ++i) FillRow(scores[i].contiguous(), i, map[i]);
        maps[{layer, head}].push_back(map);
        outputs[{layer, head}].push_back(out[row][head].to(at::kDouble).contiguous());
      }
    }
  }

  std::map<std::pair<int64_t, int64_t>, std::vector<Map>> maps;  // by layer and head
  std::map<std::pair<int64_t, int64_t>, std::vector<at::Tensor>> outputs;

 private:
  void FillRow(const at::Tensor& scores, size_t query, std::vector<double>& row) const {
    const double* s = scores.const_data_ptr<double>();
    double sum = softpick_ ? 1e-6 * std::exp(*std::max_element(s, s + query + 1)) : 0;
    for (size_t j = 0; j <= query; ++j) {
      sum += softpick_ ? std::abs(std::exp(s[j]) - 1) : std::exp(s[j]);
      row[j] = softpick_ ? std::max(0.0, std::exp(s[j]) - 1) : std::exp(s[j]);
    }
    for (double& weight : row) weight /= sum;
  }

  const bool softpick_;
};

class ProbeTest : public testing::TestWithParam<const char*> {};

TEST_P(ProbeTest, AgreesWithWholeMaps) {
  const bool softpick = GetParam() == std::string("softpick");
  const c10::AutoGradMode no_gradient(false);
  const Transformer model = Transformer::Create(SmallModel(GetParam()), 7).value();
  Rng rng(5, "tokens");
  const at::Tensor tokens = DrawTokens(rng, 3, 21);
  MapProbe whole(softpick);
  model.Hidden(tokens, {.probe = &whole});
  AnalysisOptions options;
  options.lengths = {8, 0};
  options.thresholds = {0.05, 0.2};
  options.off_thresholds = {1e-6, 0.5};
  options.map_length = 10;
  options.block_entries = 4 * 21 * 4;  // four rows at a time
  AnalysisProbe probe(model.config(), options);
  probe.BeginBatch(Whole(tokens));
  model.Hidden(tokens, {.probe = &probe});
  const AnalysisReport report = probe.Finish();
  EXPECT_EQ(report.sequences, 3);
  EXPECT_EQ(report.normalised, !softpick);
  for (int64_t layer = 0; layer < 2; ++layer) {
    for (int64_t head = 0; head < 4; ++head) {
      const std::vector<Map>& maps = whole.maps[{layer, head}];
      const HeadSummary& summary = report.layer[layer].heads[head];
      double first = 0, hits = 0, mass = 0;
      for (const Map& map : maps) {
        first += naive::Alpha(map, 21, 0) / 3;
        hits += naive::Alpha(map, 8, 0) > 0.2;
        for (const std::vector<double>& row : map) {
          mass += std::accumulate(row.begin(), row.end(), 0.0) / 63;
        }
      }
      EXPECT_NEAR(summary.first_key_mass, first, 1e-5);
      EXPECT_NEAR(summary.missing_mass, 1 - mass, 1e-5);
      EXPECT_EQ(summary.sinks[1].rate, hits / 3);
      EXPECT_NEAR(summary.zero_share, naive::TriangleShare(maps, [](double a) { return a == 0; }),
                  1e-3);
      int silent = 0;
      for (const at::Tensor& out : whole.outputs[{layer, head}]) {
        for (int64_t t = 0; t < 21; ++t) silent += out[t].abs().max().item<double>() < 0.5;
      }
      EXPECT_NEAR(report.layer[layer].off_share[head][1], silent / 63.0, 1e-12);
    }
  }
  ASSERT_EQ(report.maps.size(), 8u);  // 2 layers, 4 heads, one sequence
  const AttentionMap& map = report.maps[5].second;
  EXPECT_EQ(map.layer, 1);
  EXPECT_EQ(map.head, 1);
  ASSERT_EQ(map.values.size(), 100u);
  for (int i = 0; i < 10; ++i) {
    for (int j = 0; j < 10; ++j) {
      EXPECT_NEAR(map.values[i * 10 + j], (whole.maps[{1, 1}][0][i][j]), 1e-5);
    }
  }
}

// A padded batch gives what its sequences give alone, whatever stands in the padding.
TEST_P(ProbeTest, PaddingDoesNotCount) {
  const c10::AutoGradMode no_gradient(false);
  const Transformer model = Transformer::Create(SmallModel(GetParam()), 8).value();
  Rng rng(6, "tokens");
  const at::Tensor tokens = DrawTokens(rng, 2, 16);
  AnalysisOptions options;
  options.lengths = {4, 0};
  AnalysisProbe padded(model.config(), options), alone(model.config(), options);
  padded.BeginBatch({.lengths = {5, 16}, .columns = 16});
  model.Hidden(tokens, {.probe = &padded});
  for (int64_t row = 0; row < 2; ++row) {
    const at::Tensor one = tokens.narrow(0, row, 1).narrow(1, 0, row == 0 ? 5 : 16);
    alone.BeginBatch(Whole(one));
    model.Hidden(one, {.probe = &alone});
  }
  const auto a = AnalysisMetrics(padded.Finish()), b = AnalysisMetrics(alone.Finish());
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].first, b[i].first);
    EXPECT_NEAR(a[i].second.value, b[i].second.value, 1e-5 * std::abs(b[i].second.value) + 1e-6)
        << a[i].first;
  }
}

INSTANTIATE_TEST_SUITE_P(Variants, ProbeTest, testing::Values("softmax", "softpick"));

// The selected queries of Bigram-Backcopy are those that predict by the chain, from position 8 on.
TEST(Analyze, BosAttentionAtNonTriggers) {
  const c10::AutoGradMode no_gradient(false);
  const Transformer model = Transformer::Create(SmallModel("softmax"), 9).value();
  DataOptions data;
  data.sequence_length = 24;
  data.batch = 3;
  data.validation_sequences = 5;
  const auto source = OpenBatchSource(data, 1).value();
  const AnalysisReport report = Analyze(*source, model, 5, 0, {}).value();
  EXPECT_EQ(report.sequences, 5);
  const std::vector<Role> roles = source->roles();
  double sum = 0, count = 0;
  for (int64_t index = 0; index < 2; ++index) {
    TokenBatch batch = source->Validation(index).value();
    const std::vector<int64_t> ids(batch.tokens.begin(), batch.tokens.end());
    const at::Tensor tokens = at::from_blob(const_cast<int64_t*>(ids.data()), {batch.rows, 25},
                                            at::TensorOptions().dtype(at::kLong))
                                  .clone();
    MapProbe whole(false);
    model.Hidden(tokens.narrow(1, 0, 24), {.probe = &whole});
    for (int64_t row = 0; row < batch.rows; ++row) {
      for (int64_t t = 8; t < 24; ++t) {
        if (roles[batch.roles[row * 24 + t]].name != "bigram") continue;
        sum += whole.maps[{1, 2}][row][t][0];
        ++count;
      }
    }
  }
  EXPECT_GT(count, 20);
  EXPECT_NEAR(report.layer[1].heads[2].selected_first_mass, sum / count, 1e-6);
}

TEST(Report, NamesAreUniqueAndValuesFinite) {
  const Transformer model = Transformer::Create(SmallModel("softpick"), 10).value();
  DataOptions data;
  data.validation_sequences = 4;
  const auto source = OpenBatchSource(data, 1).value();
  const AnalysisReport report = Analyze(*source, model, 4, 0, {}).value();
  std::map<std::string, int> seen;
  for (const auto& [name, metric] : AnalysisMetrics(report)) {
    EXPECT_EQ(++seen[name], 1) << name;  // T = 64 is the whole sequence and listed once
    EXPECT_TRUE(std::isfinite(metric.value)) << name;
    EXPECT_FALSE(metric.label.empty() || metric.definition.empty()) << name;
  }
  EXPECT_EQ(seen.count("sink_rate_0.3_T64"), 1u);
  EXPECT_EQ(AnalysisProfiles(report)[0].second.values.size(), 3u);
  EXPECT_EQ(AnalysisHeadMetrics(report)[0].second.values.size(), 8u);
}

}  // namespace
}  // namespace attnlab
