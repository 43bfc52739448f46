#include "libs/data/bigram_backcopy.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <numeric>

#include "libs/data/batch_source.h"

namespace attnlab {
namespace {

constexpr int64_t kSymbols = 64, kLength = 64;

TEST(BigramBackcopy, TableIsSparseStochasticAndZipfLike) {
  const BigramBackcopy task({});
  std::vector<int> predecessors(kSymbols);
  for (int64_t s = 0; s < kSymbols; ++s) {
    const double* row = &task.table()[s * kSymbols];
    int64_t successors = 0;
    for (int64_t n = 0; n < kSymbols; ++n) {
      if (row[n] > 0) ++successors, ++predecessors[n];
    }
    EXPECT_EQ(successors, 8);
    EXPECT_NEAR(std::accumulate(row, row + kSymbols, 0.0), 1, 1e-12);
  }
  // Low symbols follow more often, as 1 / rank asks.
  EXPECT_GT(predecessors[0], 40);
  EXPECT_LT(std::accumulate(predecessors.end() - 20, predecessors.end(), 0) / 20.0, 8);
}

TEST(BigramBackcopy, MarginalIsStationaryAndTriggersAreTheMostFrequent) {
  const BigramBackcopy task({});
  const auto& marginal = task.marginal();
  double lowest_trigger = 1, highest_other = 0;
  for (int64_t n = 0; n < kSymbols; ++n) {
    double next = 0;
    for (int64_t s = 0; s < kSymbols; ++s) next += marginal[s] * task.table()[s * kSymbols + n];
    EXPECT_NEAR(next, marginal[n], 1e-9);
    if (task.IsTrigger(static_cast<int32_t>(n))) {
      lowest_trigger = std::min(lowest_trigger, marginal[n]);
    } else {
      highest_other = std::max(highest_other, marginal[n]);
    }
  }
  EXPECT_GE(lowest_trigger, highest_other);
}

TEST(BigramBackcopy, SequencesObeyTheRule) {
  const BigramBackcopy task({});
  std::vector<int32_t> tokens(kLength + 1);
  std::vector<uint8_t> roles(kLength);
  int64_t copies = 0;
  for (uint64_t i = 0; i < 200; ++i) {
    Rng rng(9, "rule", i);
    task.Draw(rng, kLength, tokens.data(), roles.data());
    EXPECT_EQ(tokens[0], task.bos());
    EXPECT_EQ(roles[0], BigramBackcopy::kFirst);
    for (int64_t t = 1; t < kLength; ++t) {
      ASSERT_LT(tokens[t], kSymbols);
      if (roles[t] == BigramBackcopy::kBackcopy) {
        EXPECT_TRUE(task.IsTrigger(tokens[t]));
        EXPECT_EQ(tokens[t + 1], tokens[t - 1]);
        ++copies;
      } else {
        EXPECT_TRUE(!task.IsTrigger(tokens[t]) || t == 1);
        EXPECT_GT(task.table()[tokens[t] * kSymbols + tokens[t + 1]], 0);
      }
    }
  }
  EXPECT_GT(copies, 200 * kLength / 10);
}

// The entropy that Entropy() derives is what the true model pays on drawn sequences.
TEST(BigramBackcopy, EntropyIsTheLossOfTheTrueModel) {
  const BigramBackcopy task({});
  double nats[3] = {}, count[3] = {};
  std::vector<int32_t> tokens(kLength + 1);
  std::vector<uint8_t> roles(kLength);
  for (uint64_t i = 0; i < 20000; ++i) {
    Rng rng(4, "entropy", i);
    task.Draw(rng, kLength, tokens.data(), roles.data());
    for (int64_t t = 0; t < kLength; ++t) {
      const double p = roles[t] == BigramBackcopy::kFirst ? task.marginal()[tokens[t + 1]]
                       : roles[t] == BigramBackcopy::kBackcopy
                           ? 1
                           : task.table()[tokens[t] * kSymbols + tokens[t + 1]];
      nats[roles[t]] -= std::log(p);
      ++count[roles[t]];
    }
  }
  EXPECT_NEAR(nats[1] / count[1], task.Entropy(BigramBackcopy::kBigram, kLength), 0.005);
  EXPECT_NEAR(nats[0] / count[0], task.Entropy(BigramBackcopy::kFirst, kLength), 0.05);
  EXPECT_EQ(task.Entropy(BigramBackcopy::kBackcopy, kLength), 0);
}

TEST(BatchSource, BigramBatchesDependOnSeedAndStepOnly) {
  DataOptions options;
  auto source = *OpenBatchSource(options, 1);
  const TokenBatch step7 = *source->Train(7);
  auto other = *OpenBatchSource(options, 1);
  EXPECT_EQ(step7.tokens, other->Train(7)->tokens);
  EXPECT_NE(step7.tokens, other->Train(8)->tokens);
  EXPECT_NE(step7.tokens, (*OpenBatchSource(options, 2))->Train(7)->tokens);
  EXPECT_NE(step7.tokens, source->Validation(7)->tokens);
  EXPECT_EQ(step7.rows, 32);
  EXPECT_EQ(step7.columns, 65);
  EXPECT_EQ(step7.roles.size(), 32u * 64);
  EXPECT_EQ(source->validation_batches(), 8);
  EXPECT_EQ(source->roles().size(), 3u);
  EXPECT_EQ(source->vocab_size(), 65);
}

TEST(BatchSource, BadOptionsAreErrors) {
  const auto code = [](auto&& change) {
    DataOptions options;
    change(options);
    return OpenBatchSource(options, 0).status().code();
  };
  using absl::StatusCode;
  EXPECT_EQ(code([](DataOptions& o) { o.source = "no_such_task"; }), StatusCode::kNotFound);
  EXPECT_EQ(code([](DataOptions& o) { o.batch = 0; }), StatusCode::kInvalidArgument);
  EXPECT_EQ(code([](DataOptions& o) { o.bigram_backcopy.triggers = 64; }),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(code([](DataOptions& o) { o.bigram_backcopy.successors = 0; }),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(code([](DataOptions& o) { o.validation_sequences = 0; }), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace attnlab
