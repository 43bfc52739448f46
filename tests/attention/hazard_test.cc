// Inputs that break attention kernels: scores of hundreds, rows without a positive score, masked
// keys that outshine a row, a first block far below the rest, all scores 0. For each
// implementation.
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "kernels/weighting_info.h"
#include "libs/attention/op.h"
#include "tests/attention/dense.h"
#include "tests/attention/run.h"

namespace attnlab {
namespace {

class HazardTest : public testing::TestWithParam<const char*> {
 protected:
  AttentionOptions OptionsOf(const std::string& weighting) const {
    AttentionOptions options;
    options.weighting = weighting;
    options.scale = 1;
    options.implementation = GetParam();
    return options;
  }
};

// [1, 1, T, 2] operands in which query i and key j score scores[i] of key j plus nothing: q = (1,
// 0), k = (x_j, 0).
Operands KeysWithScores(const std::vector<double>& scores, const AttentionOptions& options) {
  const int64_t n = static_cast<int64_t>(scores.size());
  Operands operands = RandomOperands({1, 1, 1, n, n, 2, 3}, options);
  operands.q.zero_();
  operands.q.select(3, 0).fill_(1);
  operands.k.zero_();
  for (int64_t j = 0; j < n; ++j) operands.k[0][0][j][0] = scores[j];
  return operands;
}

void ExpectFinite(const Results& results, const std::string& what) {
  EXPECT_TRUE(results.out.isfinite().all().item<bool>()) << what;
  for (const at::Tensor& grad : results.grads) {
    EXPECT_TRUE(grad.isfinite().all().item<bool>()) << what;
  }
}

// The last key scores 300 above everything: rows before it must not feel it.
TEST_P(HazardTest, MaskedKeyOutshinesTheRow) {
  for (const std::string& weighting : WeightingNames()) {
    const AttentionOptions options = OptionsOf(weighting);
    std::vector<double> scores(80, -1.0);
    scores[3] = 0.5;
    scores.back() = 300;
    const Operands operands = KeysWithScores(scores, options);
    const Results with = RunWithGradients(operands.To(at::kFloat, at::kCPU, true), options);
    ExpectFinite(with, weighting);
    EXPECT_LT(Distance(with.out, DenseAttention(operands, options)), 1e-5) << weighting;

    scores.back() = 0;
    Operands calm = KeysWithScores(scores, options);
    const at::Tensor without = RunWithGradients(calm.To(at::kFloat, at::kCPU, true), options).out;
    EXPECT_TRUE(with.out.slice(2, 0, 79).equal(without.slice(2, 0, 79))) << weighting;
  }
}

// Scores that overflow e^s in float32, both ways, in every order of blocks.
TEST_P(HazardTest, HugeScores) {
  for (const WeightingInfo& info : Weightings()) {
    if (!info.traits.shifted) continue;
    const AttentionOptions options = OptionsOf(info.text.name);
    for (const bool rising : {true, false}) {
      std::vector<double> scores(200);
      for (int j = 0; j < 200; ++j) scores[j] = rising ? 7.0 * j - 700 : 700 - 7.0 * j;
      const Operands operands = KeysWithScores(scores, options);
      const Results results = RunWithGradients(operands.To(at::kFloat, at::kCPU, true), options);
      ExpectFinite(results, info.text.name);
      AttentionOptions reference = options;
      reference.implementation = "reference";
      const Results expected =
          RunWithGradients(operands.To(at::kDouble, at::kCPU, true), reference);
      EXPECT_LT(Distance(results.out, expected.out), 1e-4) << info.text.name;
    }
  }
}

// A row without a positive score attends to nothing, and no gradient comes from it: exactly.
TEST_P(HazardTest, DeadRows) {
  for (const WeightingInfo& info : Weightings()) {
    const bool learned_scores = !info.learned.empty() && !info.traits.shifted;
    if (!info.traits.exact_zeros || learned_scores) continue;
    const AttentionOptions options = OptionsOf(info.text.name);
    for (const double top : {-0.25, -200.0}) {
      const Operands operands = KeysWithScores(std::vector<double>(100, top), options);
      const Results results = RunWithGradients(operands.To(at::kFloat, at::kCPU, true), options);
      EXPECT_TRUE(results.out.eq(0).all().item<bool>()) << info.text.name;
      for (const at::Tensor& grad : results.grads) {
        EXPECT_TRUE(grad.eq(0).all().item<bool>()) << info.text.name;
      }
    }
  }
}

// q = 0: every score is 0, and an epsilon is all that softpick divides by.
TEST_P(HazardTest, AllScoresZero) {
  for (const std::string& weighting : WeightingNames()) {
    const AttentionOptions options = OptionsOf(weighting);
    Operands operands = RandomOperands({1, 2, 2, 90, 90, 4, 4}, options);
    operands.q.zero_();
    const Results results = RunWithGradients(operands.To(at::kFloat, at::kCPU, true), options);
    ExpectFinite(results, weighting);
    EXPECT_LT(Distance(results.out, DenseAttention(operands, options)), 1e-5) << weighting;
  }
}

// Scores near 0, where e^s - 1 cancels: the weights of softpick keep their relative accuracy.
TEST_P(HazardTest, SmallScoresKeepTheirAccuracy) {
  const AttentionOptions options = OptionsOf("softpick");
  std::vector<double> scores(96);
  for (int j = 0; j < 96; ++j) scores[j] = (j % 3 == 0 ? -1e-5 : 2e-5) * (1 + j % 7);
  scores[95] = 3;  // the shift of the last row
  const Operands operands = KeysWithScores(scores, options);
  const at::Tensor out = RunWithGradients(operands.To(at::kFloat, at::kCPU, true), options).out;
  EXPECT_LT(Distance(out, DenseAttention(operands, options)), 3e-6);
}

// Padding a sequence with keys that no query sees changes nothing, not even through |e^s - 1| of a
// masked key.
TEST_P(HazardTest, WindowLeavesHiddenKeysOut) {
  for (const std::string& weighting : WeightingNames()) {
    AttentionOptions options = OptionsOf(weighting);
    options.window = 10;
    Operands operands = RandomOperands({1, 2, 2, 100, 100, 8, 8}, options);
    const at::Tensor before =
        RunWithGradients(operands.To(at::kFloat, at::kCPU, true), options).out;
    operands.k.slice(2, 0, 80).fill_(50);
    const at::Tensor after = RunWithGradients(operands.To(at::kFloat, at::kCPU, true), options).out;
    EXPECT_TRUE(before.slice(2, 90).equal(after.slice(2, 90))) << weighting;
  }
}

INSTANTIATE_TEST_SUITE_P(Implementations, HazardTest,
                         testing::Values("reference", "blocked", "kernel"));

}  // namespace
}  // namespace attnlab
