// Scores of attention heads against definitions carried out on the model, and models without heads
// against models whose heads are silenced.

#include "libs/compress/heads.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/tensor.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

namespace attnlab {
namespace {

Transformer SmallModel(const std::string& weighting, int64_t key_value_heads,
                       at::ScalarType dtype = at::kDouble) {
  ModelConfig config;
  config.vocab_size = 64;
  config.hidden_size = 32;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 4;
  config.num_key_value_heads = key_value_heads;
  config.intermediate_size = 48;
  config.initializer_range = 0.2;
  config.attention.weighting = weighting;
  return Transformer::Create(config, 1, at::kCPU, dtype).value();
}

at::Tensor Tokens() {
  return at::randint(64, {3, 20}, at::detail::createCPUGenerator(2), at::TensorOptions(at::kLong));
}

// The loss of sequence `row` when the output of one head is multiplied by `gate`.
double GatedLoss(Transformer& model, const at::Tensor& tokens, int64_t row, int64_t layer,
                 int64_t head, double gate) {
  const c10::NoGradGuard no_grad;
  const int64_t width = model.config().HeadDim();
  const at::Tensor columns =
      model.Matrix(layer, MatrixSlot::kO).slice(1, head * width, (head + 1) * width);
  const at::Tensor before = columns.clone();
  columns.mul_(gate);
  const at::Tensor x = tokens.slice(0, row, row + 1);
  const double loss = model.TokenLoss(x.slice(1, 0, -1).contiguous(), x.slice(1, 1).contiguous())
                          .mean()
                          .item<double>();
  columns.copy_(before);
  return loss;
}

TEST(Heads, ImportanceIsTheMeanSlopeOfAGate) {
  for (const int64_t shared : {4, 2}) {
    Transformer model = SmallModel("softpick", shared);
    const at::Tensor tokens = Tokens();
    const HeadScores scores = HeadImportance(model, tokens, 2);
    for (int64_t layer = 0; layer < 2; ++layer) {
      for (int64_t head = 0; head < 4; ++head) {
        double expected = 0;
        for (int64_t row = 0; row < 3; ++row) {
          const double step = 1e-5;
          expected += std::abs(GatedLoss(model, tokens, row, layer, head, 1 + step) -
                               GatedLoss(model, tokens, row, layer, head, 1 - step)) /
                      (2 * step) / 3;
        }
        EXPECT_NEAR(scores[layer][head].item<double>() / expected, 1, 1e-4);
      }
    }
    for (const auto& [name, tensor] : model.NamedParameters()) {
      EXPECT_FALSE(tensor.grad().defined()) << name;
    }
  }
}

TEST(Heads, AblationIsTheRiseOfTheLoss) {
  Transformer model = SmallModel("softmax", 4);
  const at::Tensor tokens = Tokens();
  const at::Tensor before = model.Logits(tokens);
  const HeadScores scores = HeadAblation(model, tokens, 2);
  EXPECT_TRUE(model.Logits(tokens).equal(before));
  for (int64_t head = 0; head < 4; ++head) {
    double expected = 0;
    for (int64_t row = 0; row < 3; ++row) {
      expected +=
          (GatedLoss(model, tokens, row, 1, head, 0) - GatedLoss(model, tokens, row, 1, head, 1)) /
          3;
    }
    EXPECT_NEAR(scores[1][head].item<double>(), expected, 1e-9);
  }
}

TEST(Heads, RowSums) {
  for (const at::Tensor& layer : HeadRowSums(SmallModel("softmax", 2), Tokens(), 2)) {
    EXPECT_NEAR((layer - 1).abs().max().item<double>(), 0, 1e-9);
  }
  // Scores below zero get no weight: with q of zeros a head of softpick sees nothing.
  Transformer model = SmallModel("softpick", 4);
  {
    const c10::NoGradGuard no_grad;
    model.Matrix(1, MatrixSlot::kQ).slice(0, 8, 16).zero_();
  }
  const HeadScores sums = HeadRowSums(model, Tokens(), 2);
  EXPECT_NEAR(sums[1][1].item<double>(), 0, 1e-5);
  EXPECT_GT(sums[1][0].item<double>(), 0.05);
  EXPECT_EQ(DropBelow(sums, 1e-3, 1), (KeptHeads{{0, 1, 2, 3}, {0, 2, 3}}));
}

TEST(Heads, Choice) {
  const HeadScores scores = {at::tensor({1.0, 5.0, 2.0, 9.0}), at::tensor({0.1, 0.2, 0.4, 0.3})};
  EXPECT_EQ(DropBelow(scores, 0.25, 1), (KeptHeads{{0, 1, 2, 3}, {2, 3}}));
  EXPECT_EQ(DropBelow(scores, 100, 1), (KeptHeads{{3}, {2}}));
  EXPECT_EQ(DropBelow(scores, 0.25, 2), (KeptHeads{{0, 1, 2, 3}, {2, 3}}));
  EXPECT_EQ(DropLeast(scores, 0.5, /*normalize=*/false, 1), (KeptHeads{{1, 2, 3}, {2}}));
  // Divided by their norms, 10.5 and 0.55: 0.10 0.47 0.19 0.85 and 0.18 0.37 0.73 0.55.
  EXPECT_EQ(DropLeast(scores, 0.4, /*normalize=*/true, 1), (KeptHeads{{1, 3}, {1, 2, 3}}));
  EXPECT_EQ(DropLeast(scores, 0.25, /*normalize=*/false, 2), (KeptHeads{{0, 1, 2, 3}, {2, 3}}));
  EXPECT_EQ(DropLeast(scores, 0.99, /*normalize=*/false, 1), (KeptHeads{{3}, {2}}));
}

TEST(Heads, AModelWithoutHeadsIsOneWithSilentHeads) {
  const c10::NoGradGuard no_grad;
  for (const std::string weighting : {"softmax", "softpick", "sink_logit"}) {
    for (const int64_t shared : {4, 2}) {
      const KeptHeads kept =
          shared == 4 ? KeptHeads{{0, 3}, {1, 2, 3}} : KeptHeads{{2, 3}, {0, 1, 2, 3}};
      Transformer model = SmallModel(weighting, shared);
      const absl::StatusOr<Transformer> smaller = KeepHeads(model, kept);
      ASSERT_TRUE(smaller.ok()) << smaller.status();
      EXPECT_EQ(smaller->Matrix(0, MatrixSlot::kQ).size(0), 16);
      EXPECT_EQ(smaller->Matrix(0, MatrixSlot::kV).size(0), shared == 4 ? 16 : 8);
      EXPECT_EQ(smaller->Matrix(0, MatrixSlot::kO).size(1), 16);
      for (int64_t layer = 0; layer < 2; ++layer) {
        for (int64_t head = 0; head < 4; ++head) {
          const auto& heads = kept[layer];
          if (std::find(heads.begin(), heads.end(), head) != heads.end()) continue;
          model.Matrix(layer, MatrixSlot::kO).slice(1, head * 8, head * 8 + 8).zero_();
        }
      }
      const at::Tensor expected = model.Logits(Tokens());
      EXPECT_LT((smaller->Logits(Tokens()) - expected).abs().max().item<double>(), 1e-9)
          << weighting << " " << shared;
    }
  }
}

}  // namespace
}  // namespace attnlab
