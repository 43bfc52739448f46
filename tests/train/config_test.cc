// What contradicts itself in a run's config is found before anything starts.
#include "libs/train/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "tests/train/tiny_run.h"

namespace attnlab {
namespace {

using testing::HasSubstr;

void ExpectInvalid(const std::function<void(RunConfig&)>& change,
                   const std::vector<std::string>& parts) {
  RunConfig config = TinyRun();
  change(config);
  const absl::Status status = Validate(config);
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  for (const std::string& part : parts) {
    EXPECT_THAT(std::string(status.message()), HasSubstr(part));
  }
}

TEST(RunConfigTest, TheTinyRunAndTheDefaultsAreValid) {
  EXPECT_TRUE(Validate(TinyRun()).ok()) << Validate(TinyRun());
  EXPECT_TRUE(Validate(RunConfig()).ok()) << Validate(RunConfig());
}

TEST(RunConfigTest, MessagesNameTheFieldItsValueAndTheMend) {
  ExpectInvalid([](RunConfig& c) { c.precision = "float16"; },
                {"precision is \"float16\"", "bfloat16"});
  ExpectInvalid([](RunConfig& c) { c.train.steps = 0; }, {"train.steps is 0", "at least 1"});
  ExpectInvalid([](RunConfig& c) { c.train.log_every = 0; }, {"train.log_every is 0"});
  ExpectInvalid([](RunConfig& c) { c.train.keep_checkpoints = 0; }, {"train.keep_checkpoints"});
  ExpectInvalid([](RunConfig& c) { c.train.checkpoint_every = -1; }, {"train.checkpoint_every"});
  ExpectInvalid([](RunConfig& c) { c.train.micro_batch = 3; },
                {"train.micro_batch is 3", "divide data.batch, 4"});
  ExpectInvalid([](RunConfig& c) { c.train.micro_batch = 8; }, {"train.micro_batch is 8"});
  ExpectInvalid([](RunConfig& c) { c.data.batch = 0; }, {"data.batch is 0"});
  ExpectInvalid([](RunConfig& c) { c.data.sequence_length = 17; },
                {"data.sequence_length is 17", "max_position_embeddings, 16"});
  ExpectInvalid([](RunConfig& c) { c.threads = -1; }, {"threads is -1"});
  ExpectInvalid([](RunConfig& c) { c.analysis.sequences = -1; }, {"analysis.sequences is -1"});
  ExpectInvalid([](RunConfig& c) { c.model.hidden_size = 15; }, {"hidden_size", "15"});
  ExpectInvalid([](RunConfig& c) { c.model.attention.weighting = "none"; }, {"none", "softpick"});
  ExpectInvalid([](RunConfig& c) { c.optimizer.beta1 = 1; }, {"beta1"});
  ExpectInvalid([](RunConfig& c) { c.schedule.shape = "square"; }, {"square", "cosine"});
}

}  // namespace
}  // namespace attnlab
