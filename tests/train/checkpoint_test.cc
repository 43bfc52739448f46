// Checkpoints: what is saved comes back bit for bit, and only whole ones count.
#include "libs/train/checkpoint.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/randint.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/train/tiny_run.h"

namespace attnlab {
namespace {

namespace fs = std::filesystem;

// A model and its optimizer, a few steps after the start.
struct Trained {
  explicit Trained(const ModelConfig& config, uint64_t seed)
      : model(*Transformer::Create(config, seed)),
        optimizer(TinyRun().optimizer, model.NamedParameters()) {}

  void Step() {
    const at::Tensor tokens = at::randint(0, 9, {2, 17}, at::kLong);
    optimizer.ZeroGrad();
    model.TokenLoss(tokens.narrow(1, 0, 16), tokens.narrow(1, 1, 16)).mean().backward();
    optimizer.Step(1e-2);
  }

  Transformer model;
  AdamW optimizer;
};

void ExpectEqual(const NamedTensors& a, const NamedTensors& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].first, b[i].first);
    EXPECT_TRUE(at::equal(a[i].second, b[i].second)) << a[i].first;
  }
}

TEST(CheckpointTest, RoundTrip) {
  const TestFolder run;
  // A variant with learned numbers of its own, and what config.json has no field for.
  ModelConfig config = TinyRun(2).model;
  config.attention.weighting = "ssmax";
  config.attention.implementation = "reference";
  Trained saved(config, 1), loaded(config, 2);
  for (int i = 0; i < 3; ++i) saved.Step();
  const TrainState state{.step = 3, .seed = 7, .skipped = 1, .data_fingerprint = "abc"};
  ASSERT_TRUE(SaveCheckpoint(run / "", state, saved.model, saved.optimizer, 1).ok());

  const std::string checkpoint = NewestCheckpoint(run / "").value();
  const absl::StatusOr<TrainState> read = LoadTrainState(checkpoint);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->step, 3);
  EXPECT_EQ(read->seed, 7);
  EXPECT_EQ(read->skipped, 1);
  EXPECT_EQ(read->data_fingerprint, "abc");
  const absl::Status status = LoadCheckpoint(checkpoint, loaded.model, loaded.optimizer);
  ASSERT_TRUE(status.ok()) << status;
  ExpectEqual(loaded.model.NamedParameters(), saved.model.NamedParameters());
  ExpectEqual(loaded.optimizer.State(), saved.optimizer.State());
  EXPECT_EQ(loaded.optimizer.steps(), 3);
  EXPECT_EQ(loaded.model.config().attention.implementation, "reference");

  Trained other(TinyRun(1).model, 1);
  const absl::Status wrong = LoadCheckpoint(checkpoint, other.model, other.optimizer);
  EXPECT_TRUE(absl::IsInvalidArgument(wrong)) << wrong;
}

TEST(CheckpointTest, OnlyWholeOnesCountAndTheNewestStay) {
  const TestFolder run;
  EXPECT_FALSE(NewestCheckpoint(run / "").has_value());
  const Trained trained(TinyRun().model, 1);
  for (const int64_t step : {2, 4, 6}) {
    ASSERT_TRUE(
        SaveCheckpoint(run / "", TrainState{.step = step}, trained.model, trained.optimizer, 2)
            .ok());
  }
  const std::string folder = run / "/checkpoints/";
  EXPECT_FALSE(fs::exists(folder + "step-00000002"));
  EXPECT_TRUE(fs::exists(folder + "step-00000004/state.json"));

  // A process that was killed while it wrote, and a folder that lost its state.
  fs::copy(folder + "step-00000006", folder + "step-00000008.tmp");
  fs::create_directory(folder + "step-00000010");
  std::ofstream(folder + "step-00000010/model.safetensors") << "half";
  EXPECT_THAT(NewestCheckpoint(run / "").value(), testing::EndsWith("step-00000006"));
  EXPECT_EQ(LoadTrainState(NewestCheckpoint(run / "").value())->step, 6);

  for (const int64_t step : {8, 10}) {
    ASSERT_TRUE(
        SaveCheckpoint(run / "", TrainState{.step = step}, trained.model, trained.optimizer, 1)
            .ok());
    EXPECT_EQ(LoadTrainState(NewestCheckpoint(run / "").value())->step, step);
  }
  EXPECT_EQ(std::distance(fs::directory_iterator(folder), fs::directory_iterator()), 1);
  RemoveCheckpoints(run / "");
  EXPECT_FALSE(NewestCheckpoint(run / "").has_value());
}

}  // namespace
}  // namespace attnlab
