// Inputs that break attention kernels: huge scores, dead rows, rows that see nothing, infinities
// behind the mask. Nothing here may give a number that is not finite, in outputs or gradients.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernels/parallel.h"
#include "tests/kernels/cases.h"

namespace attnlab::testing {
namespace {

// A problem of head dim 1 whose raw score of every query on key j is a given number.
struct ScoreProblem {
  Case test;
  Tensors<float> x;
};

class HazardTest : public EveryVariant {
 protected:
  ScoreProblem FromScores(const std::vector<float>& scores, int64_t queries, Mask mask = {}) {
    const int64_t keys = static_cast<int64_t>(scores.size());
    ScoreProblem result{{"scores", {1, 1, 1, queries, keys, 1, 16}, mask}, {}};
    result.x = MakeInputs(subject_, result.test, 1);
    result.x.q.assign(queries, 1.0f);
    result.x.k = scores;
    return result;
  }

  Problem Make(const ScoreProblem& scores) {
    std::vector<int32_t> no_documents;
    return MakeProblem(subject_, scores.test, MakeMask(scores.test, no_documents), scores.x);
  }

  // Against float64, with room for what e^x of a rounded x of size 200 costs.
  void Expect(const ScoreProblem& scores) {
    ForEachInstructionSet([&] { ExpectMatchesDense(subject_, Make(scores), scores.x, 5e-5); });
  }

  Gradients<float> Run(const ScoreProblem& scores) {
    return RunKernels(subject_, Make(scores), scores.x);
  }
};
ATTNLAB_FOR_EVERY_VARIANT(HazardTest);

std::vector<float> Alternating(int64_t count, float size) {
  std::vector<float> scores(count);
  for (int64_t j = 0; j < count; ++j) scores[j] = j % 3 == 1 ? -size : size - 0.01f * (j % 7);
  return scores;
}

TEST_P(HazardTest, ScoresOf200) { Expect(FromScores(Alternating(150, 200), 150)); }

TEST_P(HazardTest, AllMinus200) { Expect(FromScores(std::vector<float>(150, -200.0f), 150)); }

TEST_P(HazardTest, AllNegative) {
  std::vector<float> scores(150);
  for (size_t j = 0; j < scores.size(); ++j)
    scores[j] = -0.01f - 0.02f * static_cast<float>(j % 50);
  Expect(FromScores(scores, 150));
}

// At a score of exactly 0 slopes are a convention (docs/numerics.md): the kernels' is dense's own.
TEST_P(HazardTest, AllZero) { Expect(FromScores(std::vector<float>(150, 0.0f), 150)); }

TEST_P(HazardTest, FirstTileAtMinus200ThenPlus10) {
  std::vector<float> scores(300, -200.0f);
  for (size_t j = 256; j < scores.size(); ++j)
    scores[j] = 10.0f - 0.01f * static_cast<float>(j % 9);
  Expect(FromScores(scores, 300));
}

// A tile whose weights are all 0 still counts in softpick's denominator and has gradients.
TEST_P(HazardTest, NegativeTileBesidePositiveScores) {
  std::vector<float> scores(300, -0.7f);
  for (size_t j = 128; j < scores.size(); ++j)
    scores[j] = 0.02f * static_cast<float>(j % 40) + 0.1f;
  Expect(FromScores(scores, 300));
}

TEST_P(HazardTest, HiddenScore300AboveTheRest) {
  std::vector<float> scores(40, 0.3f);
  scores[39] = 300.0f;  // in the future of every query but the last
  Expect(FromScores(scores, 40));
}

TEST_P(HazardTest, HiddenInfinities) {
  std::vector<float> scores(40, 0.3f);
  ScoreProblem clean = FromScores(scores, 20);
  ScoreProblem dirty = clean;
  // Keys 35.. belong to another document. What they hold must not matter at all, for the rows.
  std::vector<int32_t> query_documents(20, 1), key_documents(40, 1);
  for (int j = 35; j < 40; ++j) {
    key_documents[j] = 2;
    dirty.x.k[j] = std::numeric_limits<float>::infinity();
  }
  Problem clean_problem = Make(clean), dirty_problem = Make(dirty);
  for (Problem* problem : {&clean_problem, &dirty_problem}) {
    problem->mask.causal = false;
    problem->mask.query_documents = query_documents.data();
    problem->mask.key_documents = key_documents.data();
  }
  const Gradients<float> a = RunKernels(subject_, clean_problem, clean.x);
  const Gradients<float> b = RunKernels(subject_, dirty_problem, dirty.x);
  EXPECT_EQ(a.out, b.out);
  EXPECT_EQ(a.v, b.v);
  EXPECT_EQ(a.k, b.k);
}

TEST_P(HazardTest, MaskedKeysLeaveTheDenominator) {
  // 5 visible keys among 60: the same result as with the other keys away.
  ScoreProblem all = FromScores(Alternating(60, 1.0f), 1, {.causal = false});
  ScoreProblem few = FromScores(Alternating(5, 1.0f), 1, {.causal = false});
  few.x.v.assign(all.x.v.begin(), all.x.v.begin() + 5 * 16);
  few.x.out_grad = all.x.out_grad;
  Problem masked = Make(all);
  masked.mask.causal = true;
  masked.mask.query_offset = 4;
  Problem plain = Make(few);
  const Gradients<float> a = RunKernels(subject_, masked, all.x),
                         b = RunKernels(subject_, plain, few.x);
  for (size_t i = 0; i < b.out.size(); ++i) EXPECT_NEAR(a.out[i], b.out[i], 1e-6);
  for (size_t i = 0; i < a.k.size(); ++i) {
    EXPECT_NEAR(a.k[i], i < b.k.size() ? b.k[i] : 0.0f, 1e-6) << i;
  }
}

TEST_P(HazardTest, RowsThatSeeNothingAreZero) {
  ScoreProblem scores = FromScores(Alternating(80, 3.0f), 80);
  Problem problem = Make(scores);
  problem.mask.query_offset = -30;  // the first 30 queries stand before every key
  const Gradients<float> got = RunKernels(subject_, problem, scores.x);
  for (int i = 0; i < 30 * 16; ++i) EXPECT_EQ(got.out[i], 0.0f) << i;
  for (int i = 0; i < 30; ++i) EXPECT_EQ(got.q[i], 0.0f) << i;
  ExpectMatchesDense(subject_, problem, scores.x, 1e-5);
}

TEST_P(HazardTest, NoKeysAtAll) {
  const Case test{"no keys", {1, 2, 1, 3, 0, 8, 8}};
  const Tensors<float> x = MakeInputs(subject_, test, 1);
  std::vector<int32_t> documents;
  const Problem problem = MakeProblem(subject_, test, MakeMask(test, documents), x);
  const Gradients<float> got = RunKernels(subject_, problem, x);
  for (float value : got.out) EXPECT_EQ(value, 0.0f);
  for (float value : got.q) EXPECT_EQ(value, 0.0f);
}

// A number that is not one must be seen, not turned into a quiet 0.
TEST_P(HazardTest, NanIsSeen) {
  ForEachInstructionSet([&] {
    ScoreProblem scores = FromScores(Alternating(70, 1.0f), 70);
    scores.x.k[40] = std::nanf("");
    const Gradients<float> got = Run(scores);
    for (int i = 0; i < 40 * 16; ++i) EXPECT_TRUE(std::isfinite(got.out[i])) << i;
    EXPECT_TRUE(std::isnan(got.out[40 * 16]));
    EXPECT_TRUE(std::isnan(got.out[69 * 16]));
  });
}

TEST_P(HazardTest, BitsDoNotDependOnLanes) {
  const Case test{"lanes", {2, 4, 2, 150, 150, 24, 24}};
  std::vector<int32_t> documents;
  const Tensors<float> x = MakeInputs(subject_, test, 11);
  const Problem problem = MakeProblem(subject_, test, MakeMask(test, documents), x);
  const int lanes = LaneCount();
  SetLaneCount(1);
  const Gradients<float> one = RunKernels(subject_, problem, x);
  SetLaneCount(5);
  const Gradients<float> five = RunKernels(subject_, problem, x);
  SetLaneCount(lanes);
  EXPECT_EQ(one.out, five.out);
  EXPECT_EQ(one.q, five.q);
  EXPECT_EQ(one.k, five.k);
  EXPECT_EQ(one.v, five.v);
  EXPECT_EQ(one.learned, five.learned);
}

}  // namespace
}  // namespace attnlab::testing
