// A model without some of its heads: what is measured of it is what is measured of the heads that
// stayed in the whole model, when the others write nothing.
#include <ATen/core/Tensor.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>

#include "libs/analysis/analyze.h"
#include "libs/analysis/report.h"
#include "libs/compress/heads.h"
#include "libs/data/batch_source.h"
#include "libs/model/transformer.h"

namespace attnlab {
namespace {

constexpr int64_t kLayers = 3, kHeads = 4, kWidth = 8;

Transformer WholeModel(const std::string& weighting, int64_t key_value_heads) {
  ModelConfig config;
  config.vocab_size = 65;
  config.hidden_size = kHeads * kWidth;
  config.num_hidden_layers = kLayers;
  config.num_attention_heads = kHeads;
  config.num_key_value_heads = key_value_heads;
  config.intermediate_size = 48;
  config.initializer_range = 0.4;
  config.attention.weighting = weighting;
  return Transformer::Create(config, 3).value();
}

AnalysisReport Measure(const Transformer& model) {
  DataOptions data;
  data.sequence_length = 24;
  data.batch = 3;
  data.validation_sequences = 5;
  const auto source = OpenBatchSource(data, 1).value();
  AnalysisOptions options;
  options.lengths = {8, 0};
  options.thresholds = {0.05, 0.3};
  options.off_thresholds = {1e-6, 0.5};
  options.map_length = 10;
  return Analyze(*source, model, 5, 0, options).value();
}

// The heads that do not stay write nothing.
void Silence(Transformer& model, const KeptHeads& kept) {
  const c10::NoGradGuard no_grad;
  for (int64_t layer = 0; layer < kLayers; ++layer) {
    for (int64_t head = 0; head < kHeads; ++head) {
      if (std::count(kept[layer].begin(), kept[layer].end(), head) > 0) continue;
      model.Matrix(layer, MatrixSlot::kO).slice(1, head * kWidth, (head + 1) * kWidth).zero_();
    }
  }
}

class PrunedTest : public testing::TestWithParam<std::tuple<const char*, int64_t>> {
 protected:
  PrunedTest()
      : kept_(std::get<1>(GetParam()) == 4 ? KeptHeads{{1, 3}, {0, 1, 2, 3}, {2}}
                                           : KeptHeads{{2, 3}, {0, 1, 2, 3}, {0, 1}}) {
    Transformer model = WholeModel(std::get<0>(GetParam()), std::get<1>(GetParam()));
    pruned_ = Measure(KeepHeads(model, kept_).value());
    Silence(model, kept_);
    whole_ = Measure(model);
  }

  const KeptHeads kept_;
  AnalysisReport whole_, pruned_;
};

TEST_P(PrunedTest, EveryHeadThatStaysIsMeasuredAsBefore) {
  const auto before = AnalysisHeadMetrics(whole_), after = AnalysisHeadMetrics(pruned_);
  ASSERT_EQ(before.size(), after.size());
  for (size_t i = 0; i < after.size(); ++i) {
    const HeadMetric& whole = before[i].second;
    const HeadMetric& pruned = after[i].second;
    EXPECT_EQ(before[i].first, after[i].first);
    EXPECT_TRUE(whole.layer_heads.empty());
    ASSERT_EQ(pruned.layer_heads.size(), static_cast<size_t>(kLayers));
    EXPECT_EQ(pruned.values.size(), whole.values.size());
    for (size_t layer = 0; layer < kept_.size(); ++layer) {
      EXPECT_EQ(pruned.layer_heads[layer], static_cast<int64_t>(kept_[layer].size()));
      for (size_t head = 0; head < kHeads; ++head) {
        const double value = pruned.values[layer * kHeads + head];
        if (head < kept_[layer].size()) {
          EXPECT_NEAR(value, whole.values[layer * kHeads + kept_[layer][head]], 2e-5)
              << after[i].first << " " << layer << " " << head;
        } else {
          EXPECT_TRUE(std::isnan(value)) << after[i].first;
        }
      }
    }
  }
}

// One number a model: means over the heads that stayed; activations as in the whole model.
TEST_P(PrunedTest, SharesAreOverTheHeadsThatStay) {
  std::map<std::string, double> before, after;
  for (const auto& [name, metric] : AnalysisMetrics(whole_)) before[name] = metric.value;
  for (const auto& [name, metric] : AnalysisMetrics(pruned_)) after[name] = metric.value;
  const auto heads = AnalysisHeadMetrics(pruned_);
  int compared = 0;
  for (const auto& [name, metric] : heads) {
    if (name == "value_norm_ratio" || name == "bos_value_norm" || name == "bos_attention" ||
        name.starts_with("off_share")) {
      continue;
    }
    const std::vector<double> present = metric.Present();
    double mean = 0;
    for (const double value : present) mean += value / static_cast<double>(present.size());
    EXPECT_NEAR(after.at(name), mean, 1e-12) << name;
    ++compared;
  }
  EXPECT_EQ(compared, 10);  // 2 x 2 sink rates and six shares
  int64_t dead = 0, all = 0;
  for (const LayerReport& layer : pruned_.layer) {
    for (const auto& off : layer.off_share) dead += off[1] > 0.75;
    all += static_cast<int64_t>(layer.heads.size());
  }
  EXPECT_EQ(pruned_.AllHeads(), all);
  EXPECT_EQ(after.at("mostly_dead_heads_0.5"),
            static_cast<double>(dead) / static_cast<double>(all));
  for (const char* name :
       {"activation_min", "activation_max", "residual_max_abs", "top_over_median", "massive",
        "first_norm_ratio", "kurtosis_pooled", "kurtosis_bondarenko", "kurtosis_neuron"}) {
    EXPECT_NEAR(after.at(name), before.at(name), 1e-4 * std::abs(before.at(name))) << name;
  }
  EXPECT_GT(after.at("kurtosis_bondarenko_attention"), 0);
}

TEST_P(PrunedTest, MapsAreThoseOfTheHeadsThatStay) {
  size_t count = 0;
  for (const auto& [name, map] : pruned_.maps) {
    const auto twin = std::find_if(whole_.maps.begin(), whole_.maps.end(), [&](const auto& other) {
      return other.second.layer == map.layer && other.second.head == kept_[map.layer][map.head];
    });
    ASSERT_NE(twin, whole_.maps.end()) << name;
    for (size_t i = 0; i < map.values.size(); ++i) {
      EXPECT_NEAR(map.values[i], twin->second.values[i], 2e-5) << name << " " << i;
    }
    ++count;
  }
  EXPECT_EQ(count, static_cast<size_t>(pruned_.AllHeads()));
}

INSTANTIATE_TEST_SUITE_P(Variants, PrunedTest,
                         testing::Combine(testing::Values("softmax", "softpick", "sink_logit"),
                                          testing::Values(4, 2)));

}  // namespace
}  // namespace attnlab
