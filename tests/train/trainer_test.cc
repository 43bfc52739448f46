// Training as a library: equal seeds, micro-batches, every variant, both precisions.
#include "libs/train/trainer.h"

#include <ATen/ops/equal.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "libs/io/result_names.h"
#include "libs/io/results.h"
#include "libs/model/model_io.h"
#include "tests/train/tiny_run.h"

namespace attnlab {
namespace {

// Trains `config` in `folder` and returns its record.
RunResults TrainAndRead(const RunConfig& config, const std::string& folder) {
  const absl::Status status = Train(config, {folder, false, {}});
  EXPECT_TRUE(status.ok()) << status;
  absl::StatusOr<RunResults> results = ReadResults(folder);
  EXPECT_TRUE(results.ok()) << results.status();
  return results.ok() ? *std::move(results) : RunResults();
}

const std::vector<double>& Values(const RunResults& results, const char* series) {
  return results.series.at(series).values;
}

TEST(TrainerTest, SameSeedSameLosses) {
  const TestFolder folder;
  RunConfig config = TinyRun(2);
  const RunResults first = TrainAndRead(config, folder / "1");
  const RunResults second = TrainAndRead(config, folder / "2");
  config.seed = 2;
  const RunResults other = TrainAndRead(config, folder / "3");
  ASSERT_EQ(Values(first, names::kTrainLoss).size(), 10u);
  EXPECT_EQ(Values(first, names::kTrainLoss), Values(second, names::kTrainLoss));
  EXPECT_EQ(Values(first, names::kGradientNorm), Values(second, names::kGradientNorm));
  EXPECT_EQ(Values(first, names::kValidationLoss), Values(second, names::kValidationLoss));
  EXPECT_NE(Values(first, names::kTrainLoss), Values(other, names::kTrainLoss));
}

TEST(TrainerTest, LearnsTheTask) {
  const TestFolder folder;
  RunConfig config = TinyRun(1);
  config.train.steps = 200;
  config.train.log_every = 100;
  const RunResults results = TrainAndRead(config, folder / "run");
  const std::vector<double>& loss = Values(results, names::kTrainLoss);
  EXPECT_NEAR(loss.front(), std::log(9.0), 0.1);  // knows nothing
  const Series& bigram = results.series.at("bigram_loss");
  ASSERT_TRUE(bigram.info.target.has_value());
  EXPECT_LT(bigram.values.back(), *bigram.info.target + 0.3);
  EXPECT_EQ(results.metrics.at(names::kFinalLoss).value,
            Values(results, names::kValidationLoss).back());
}

// The gradient of a batch is the sum of those of its parts: equal up to rounding of float32.
TEST(TrainerTest, MicroBatchesAddUpToTheBatch) {
  const TestFolder folder;
  RunConfig config = TinyRun(2);
  const RunResults whole = TrainAndRead(config, folder / "0");
  for (const int64_t micro : {1, 2, 4}) {
    config.train.micro_batch = micro;
    const RunResults parts = TrainAndRead(config, folder / std::to_string(micro));
    for (size_t i = 0; i < 10; ++i) {
      const double loss = Values(whole, names::kTrainLoss)[i];
      const double norm = Values(whole, names::kGradientNorm)[i];
      EXPECT_NEAR(Values(parts, names::kTrainLoss)[i], loss, 2e-5 * loss) << micro << " " << i;
      EXPECT_NEAR(Values(parts, names::kGradientNorm)[i], norm, 2e-4 * norm) << micro << " " << i;
    }
  }
}

TEST(TrainerTest, EveryVariantTrains) {
  const TestFolder folder;
  for (const std::string& weighting : WeightingNames()) {
    SCOPED_TRACE(weighting);
    RunConfig config = TinyRun(2);
    config.model.attention.weighting = weighting;
    config.train.steps = 3;
    const RunResults results = TrainAndRead(config, folder / weighting);
    ASSERT_EQ(Values(results, names::kTrainLoss).size(), 3u);
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_TRUE(std::isfinite(Values(results, names::kTrainLoss)[i]));
      const double norm = Values(results, names::kGradientNorm)[i];
      EXPECT_TRUE(std::isfinite(norm) && norm > 0) << norm;
    }
    EXPECT_EQ(results.info.variant, weighting);
    EXPECT_TRUE(LoadModel(folder / weighting + "/model").ok());
  }
}

TEST(TrainerTest, BfloatTrainsNearFloat) {
  const TestFolder folder;
  RunConfig config = TinyRun(2);
  const RunResults exact = TrainAndRead(config, folder / "float32");
  config.precision = "bfloat16";
  const RunResults rounded = TrainAndRead(config, folder / "bfloat16");
  for (size_t i = 0; i < 10; ++i) {
    EXPECT_NEAR(Values(rounded, names::kTrainLoss)[i], Values(exact, names::kTrainLoss)[i], 0.05);
  }
  EXPECT_NE(Values(rounded, names::kTrainLoss), Values(exact, names::kTrainLoss));
}

// The last step is measured once, whatever the intervals are; analysis goes into the record.
TEST(TrainerTest, RecordsAtItsIntervals) {
  const TestFolder folder;
  RunConfig config = TinyRun(1);
  config.train.validate_every = 4;
  config.analysis.every = 5;
  config.analysis.sequences = 2;
  config.analysis.map_length = 8;
  const RunResults results = TrainAndRead(config, folder / "run");
  EXPECT_THAT(results.series.at(names::kValidationLoss).steps, testing::ElementsAre(0, 4, 8, 10));
  for (const auto& [name, series] : results.series) {
    if (name.rfind("analysis/", 0) == 0) {
      EXPECT_THAT(series.steps, testing::IsSubsetOf(std::vector<int64_t>{0, 5, 10})) << name;
    }
  }
  EXPECT_FALSE(results.attention.empty());
  EXPECT_FALSE(results.maps.empty());
  EXPECT_EQ(results.status, "finished");
  EXPECT_EQ(results.provenance.seed, 1);
  EXPECT_THAT(results.provenance.recipe, testing::HasSubstr("validate_every = 4"));
}

TEST(TrainerTest, VocabularyMustHoldTheData) {
  const TestFolder folder;
  RunConfig config = TinyRun();
  config.model.vocab_size = 8;
  config.model.bos_token_id = 7;
  const absl::Status status = Train(config, {folder / "run", false, {}});
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("the data needs 9"));
}

}  // namespace
}  // namespace attnlab
