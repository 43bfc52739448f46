// The parts of the bench that need no device: operations, inputs with dead tiles, the check, the
// table, operands of a model.
#include <ATen/Context.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/matmul.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "apps/bench/device_check.h"
#include "apps/bench/device_decode.h"
#include "apps/bench/gpu_timer.h"
#include "apps/bench/record.h"
#include "apps/bench/trained.h"
#include "libs/model/model_io.h"
#include "tests/test_folder.h"

namespace attnlab {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Mask MakeMask(bool causal, int64_t window = 0) {
  Mask mask;
  mask.causal = causal;
  mask.window = window;
  return mask;
}

TEST(FlopsTest, TwoProductsOfTwoOperationsAPair) {
  const Shape shape{2, 3, 1, 128, 128, 64, 64};
  EXPECT_DOUBLE_EQ(ForwardFlops(shape, MakeMask(false)), 4.0 * 2 * 3 * 128 * 128 * 64);
  EXPECT_DOUBLE_EQ(ForwardFlops(shape, MakeMask(true)), 2.0 * 2 * 3 * 128 * 128 * 64);
  EXPECT_DOUBLE_EQ(BackwardFlops(shape, MakeMask(true)), 5.0 * 2 * 3 * 128 * 128 * 64);
  // Under a window of 1 each query sees itself.
  EXPECT_DOUBLE_EQ(ForwardFlops(shape, MakeMask(true, 1)), 4.0 * 2 * 3 * 128 * 64);
}

TEST(FlopsTest, ACacheIsReadOnce) {
  EXPECT_DOUBLE_EQ(CacheBytes({16, 32, 8, 1, 8192, 128, 128}, 2), 2.0 * 16 * 8 * 8192 * 128 * 2);
}

TEST(TimingTest, MedianAndQuartiles) {
  const Timing odd = TimingOf({5, 1, 2, 4, 3});
  EXPECT_DOUBLE_EQ(odd.seconds, 3);
  EXPECT_DOUBLE_EQ(odd.spread, 2.0 / 3);
  EXPECT_DOUBLE_EQ(TimingOf({1, 2}).seconds, 1.5);
  EXPECT_DOUBLE_EQ(TimingOf({7}).spread, 0);
}

TEST(DeadTilesTest, TheShareIsThatOfEveryRow) {
  for (const double share : {0.0, 0.25, 0.5, 1.0}) {
    const std::vector<uint8_t> dead = DeadTiles(3, 32, 16, share, 1);
    ASSERT_EQ(dead.size(), 3u * 32 * 16);
    for (auto row = dead.begin(); row != dead.end(); row += 16) {
      EXPECT_EQ(std::count(row, row + 16, 1), std::llround(share * 16));
    }
  }
  EXPECT_EQ(DeadTiles(2, 4, 8, 0.5, 7), DeadTiles(2, 4, 8, 0.5, 7));
  EXPECT_NE(DeadTiles(2, 4, 8, 0.5, 7), DeadTiles(2, 4, 8, 0.5, 8));
}

struct DeadCase {
  int64_t dim;
  at::ScalarType type;
};

class DeadInputsTest : public testing::TestWithParam<DeadCase> {};

// Every tile of 64 queries and 128 keys has either negative scores alone or none, and the share of
// the first kind is the one that was asked for.
TEST_P(DeadInputsTest, TilesAreDeadOrAlive) {
  constexpr int64_t kBatch = 2, kHeads = 4, kKvHeads = 2, kTokens = 1024;
  const int64_t dim = GetParam().dim;
  const Shape shape{kBatch, kHeads, kKvHeads, kTokens, kTokens, dim, dim};
  const Inputs x = DeadInputs(shape, at::TensorOptions().dtype(GetParam().type), 0.25);
  EXPECT_EQ(x.name, "dead 0.25");
  const at::Tensor k = x.k.to(at::kFloat).repeat_interleave(kHeads / kKvHeads, 1);
  const at::Tensor scores = at::matmul(x.q.to(at::kFloat), k.transpose(2, 3));
  int64_t dead = 0, tiles = 0;
  for (const at::Tensor& group : scores.split(kDeadRows, 2)) {
    for (const at::Tensor& tile : group.split(kDeadKeys, 3)) {
      const at::Tensor high = tile.amax({2, 3}), low = tile.amin({2, 3});
      const at::Tensor negative = high.lt(0);
      EXPECT_TRUE(negative.logical_or(low.ge(0)).all().item<bool>());
      EXPECT_TRUE(negative.logical_or(high.gt(0)).all().item<bool>());
      dead += negative.sum().item<int64_t>();
      tiles += negative.numel();
    }
  }
  EXPECT_EQ(4 * dead, tiles);
}

INSTANTIATE_TEST_SUITE_P(Types, DeadInputsTest,
                         testing::Values(DeadCase{64, at::kBFloat16}, DeadCase{128, at::kBFloat16},
                                         DeadCase{64, at::kHalf}, DeadCase{32, at::kFloat}));

TEST(InputsTest, RepeatAndHoldWhatBfloat16Holds) {
  const Shape shape{1, 2, 1, 70, 90, 16, 8};
  const Inputs a = RandomInputs(shape, at::kFloat, at::kBFloat16);
  const Inputs b = RandomInputs(shape, at::kFloat, at::kBFloat16);
  EXPECT_TRUE(at::equal(a.k, b.k));
  EXPECT_TRUE(at::equal(a.k, a.k.to(at::kBFloat16).to(at::kFloat)));
  EXPECT_EQ(a.v.sizes(), at::IntArrayRef({1, 1, 90, 8}));
  EXPECT_EQ(a.q.stride(3), 1);
  EXPECT_EQ(a.q.stride(1), 16);  // heads side by side in memory
}

// The check runs on any device: here the kernels of the CPU stand in for those of a GPU.
TEST(CheckTest, PassesWhatIsRightAndNamesWhatIsWrong) {
  const Shape shape{1, 4, 2, 130, 130, 32, 32};
  for (const char* variant : {"softmax", "softpick", "thresholded_relu"}) {
    Contender contender;
    contender.options.weighting = variant;
    contender.learned = InitialLearned(contender.options, shape.heads, at::kCPU);
    contender.kernel = "best";
    for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
      const auto deviations =
          CheckOnDevice(contender, shape, at::TensorOptions().dtype(type), /*gradients=*/true);
      ASSERT_TRUE(deviations.ok()) << variant << ": " << deviations.status();
      EXPECT_LT(deviations->forward_ratio, kMostRatio);
      EXPECT_LT(deviations->backward_ratio, kMostRatio);
      EXPECT_GT(deviations->backward, 0);
    }
  }
  Contender odd;
  const Shape no_groups{1, 3, 2, 64, 64, 32, 32};
  odd.kernel = "best";
  const auto refused = CheckOnDevice(odd, no_groups, at::kFloat, /*gradients=*/true);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("kv_heads"));
}

TEST(RecordTest, TheTableHasARowAMeasurement) {
  const TestFolder folder;
  const std::string out = folder / "run";
  Measurement row;
  row.variant = "softpick";
  row.kernel = "hopper";
  row.dim = 64;
  row.seconds = 0.25;
  {
    auto record = BenchRecord::Open(BenchKind::kAttention, out, {});
    ASSERT_TRUE(record.ok()) << record.status();
    ASSERT_TRUE(record->Write("matrix_product_rate", {700, "matrix product", "TFLOP/s"}).ok());
    ASSERT_TRUE(record->Add({row}).ok());
    row.variant = "softmax";
    ASSERT_TRUE(record->Add({row}).ok());
    ASSERT_TRUE(record->Finish(true).ok());
  }
  const auto results = ReadResults(out);
  ASSERT_TRUE(results.ok()) << results.status();
  EXPECT_EQ(results->info.kind, "bench");
  EXPECT_EQ(results->info.name, "attention");
  EXPECT_EQ(results->status, "finished");
  const std::vector<Column>& table = results->tables.at("attention");
  std::vector<std::string> names;
  for (const Column& column : table) {
    names.push_back(column.name);
    EXPECT_EQ(column.size(), 2u) << column.name;
  }
  EXPECT_THAT(names, ElementsAre("variant", "kernel", "dtype", "mask", "pass", "inputs", "dim", "T",
                                 "B", "H", "Hkv", "seconds", "spread", "rate", "flash", "cudnn",
                                 "efficient", "of_device", "skipped", "skip_gain", "error",
                                 "error_ratio", "sm_clock", "memory_clock"));
  EXPECT_THAT(table[0].texts, ElementsAre("softpick", "softmax"));
  EXPECT_EQ(table[11].numbers, std::vector<double>({0.25, 0.25}));
  EXPECT_EQ(table[13].unit, "TFLOP/s");
  EXPECT_TRUE(std::isnan(table[14].numbers[0]));

  const auto again = BenchRecord::Open(BenchKind::kAttention, out, {});
  EXPECT_THAT(std::string(again.status().message()), HasSubstr("finished run"));
}

TEST(DecodeTest, ShapesOfTheFlags) {
  BenchFlags flags;
  BenchLists lists;
  const auto defaults = DecodeShapes(flags, lists);
  ASSERT_TRUE(defaults.ok());
  ASSERT_EQ(defaults->size(), 3u);
  EXPECT_EQ((*defaults)[2].kv_heads, 8);
  lists.tokens = {512, 1024};
  flags.kv_heads = 4;
  const auto own = DecodeShapes(flags, lists);
  ASSERT_TRUE(own.ok());
  ASSERT_EQ(own->size(), 2u);
  EXPECT_EQ((*own)[1].keys, 1024);
  EXPECT_EQ((*own)[1].queries, 1);
  EXPECT_EQ((*own)[1].kv_heads, 4);
  flags.kv_heads = 5;
  EXPECT_FALSE(DecodeShapes(flags, lists).ok());
}

TEST(TrainedTest, DrawnTokensFallInFrequency) {
  const std::vector<int32_t> ids = DrawnTokens(4000, 1000);
  EXPECT_EQ(ids, DrawnTokens(4000, 1000));
  EXPECT_GE(*std::min_element(ids.begin(), ids.end()), 0);
  EXPECT_LT(*std::max_element(ids.begin(), ids.end()), 1000);
  const auto low = std::count_if(ids.begin(), ids.end(), [](int32_t id) { return id < 125; });
  EXPECT_NEAR(static_cast<double>(low) / 4000, 0.5, 0.05);
}

TEST(TrainedTest, GivesTheOperandsOfEveryLayer) {
  const TestFolder folder;
  ModelConfig config;
  config.vocab_size = 50;
  config.hidden_size = 32;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  config.intermediate_size = 48;
  config.max_position_embeddings = 40;
  config.attention.weighting = "scaled_softpick";
  const auto model = Transformer::Create(config, 3);
  ASSERT_TRUE(model.ok());
  ASSERT_TRUE(SaveModel(*model, folder / "model").ok());
  const auto layers = TrainedLayers({folder / "model", "", 3, 0}, at::kCPU, at::kBFloat16);
  ASSERT_TRUE(layers.ok()) << layers.status();
  ASSERT_EQ(layers->size(), 2u);
  const TrainedLayer& layer = (*layers)[1];
  EXPECT_EQ(layer.inputs.name, "layer 1 of model");
  EXPECT_EQ(layer.inputs.q.sizes(), at::IntArrayRef({3, 4, 40, 8}));
  EXPECT_EQ(layer.inputs.k.sizes(), at::IntArrayRef({3, 2, 40, 8}));
  EXPECT_EQ(layer.inputs.q.scalar_type(), at::kBFloat16);
  EXPECT_EQ(layer.options.weighting, "scaled_softpick");
  ASSERT_EQ(layer.learned.size(), 1u);
  EXPECT_EQ(layer.learned[0].numel(), 4);
}

}  // namespace
}  // namespace attnlab
