// Inputs that break attention kernels: huge scores, dead rows, rows that see nothing, infinities
// behind the mask. Nothing here may give a number that is not finite, in outputs or gradients.
#include <gtest/gtest.h>

#include "kernels/dispatch.h"
#include "kernels/parallel.h"
#include "tests/kernels/cases.h"
#include "tests/kernels/registry.h"

namespace attnlab::testing {
namespace {

// A problem of head dim 1 whose raw score of query i on key j is scores[j] times q[i] = 1.
struct ScoreProblem {
  Case test;
  Tensors<float> x;
  std::vector<int32_t> documents;

  template <class Variant>
  Problem Make() {
    SetLearned<Variant>(1, x.learned);
    Problem problem = MakeProblem<Variant>(test, MakeMask(test, documents), x);
    problem.scale = 1.0f;
    return problem;
  }
};

ScoreProblem FromScores(const std::vector<float>& scores, int64_t queries, Mask mask = {}) {
  const int64_t keys = static_cast<int64_t>(scores.size());
  ScoreProblem result{{"scores", {1, 1, 1, queries, keys, 1, 16}, mask}, {}, {}};
  result.x = MakeInputs(result.test, 1);
  result.x.q.assign(queries, 1.0f);
  result.x.k = scores;
  return result;
}

template <class Variant>
class HazardTest : public ::testing::Test {
 protected:
  // Against float64, with room for what e^x of a rounded x of size 200 costs (200 * 2^-24 each
  // way).
  void Expect(ScoreProblem problem, double slack = 5e-5) {
    for (const char* isa : InstructionSets()) {
      SCOPED_TRACE(isa);
      ASSERT_TRUE(UseInstructionSet(isa));
      const Problem p = problem.Make<Variant>();
      const Gradients<float> got = RunKernels({}, p, problem.x);
      const Gradients<float> naive = RunDense(Variant(), p, problem.x);
      const Gradients<double> truth = RunDense(Variant(), p, Convert<double>(problem.x));
      ExpectAsGoodAsNaive("out", got.out, naive.out, truth.out, 0, slack);
      ExpectAsGoodAsNaive("dQ", got.q, naive.q, truth.q, truth.terms, slack);
      ExpectAsGoodAsNaive("dK", got.k, naive.k, truth.k, truth.terms, slack);
      ExpectAsGoodAsNaive("dV", got.v, naive.v, truth.v, 0, slack);
      ExpectAsGoodAsNaive("learned", got.learned, naive.learned, truth.learned, truth.learned_terms,
                          slack);
    }
    UseInstructionSet(InstructionSets()[0]);
  }
};
TYPED_TEST_SUITE(HazardTest, RegisteredVariants, VariantNames);

std::vector<float> Alternating(int64_t count, float size) {
  std::vector<float> scores(count);
  for (int64_t j = 0; j < count; ++j) scores[j] = j % 3 == 1 ? -size : size - 0.01f * (j % 7);
  return scores;
}

TYPED_TEST(HazardTest, ScoresOf200) { this->Expect(FromScores(Alternating(150, 200), 150)); }

TYPED_TEST(HazardTest, AllMinus200) {
  this->Expect(FromScores(std::vector<float>(150, -200.0f), 150));
}

TYPED_TEST(HazardTest, AllNegative) {
  std::vector<float> scores(150);
  for (size_t j = 0; j < scores.size(); ++j)
    scores[j] = -0.01f - 0.02f * static_cast<float>(j % 50);
  this->Expect(FromScores(scores, 150));
}

// At a score of exactly 0 slopes are a convention (docs/numerics.md): the kernels' is dense's own.
TYPED_TEST(HazardTest, AllZero) { this->Expect(FromScores(std::vector<float>(150, 0.0f), 150)); }

TYPED_TEST(HazardTest, FirstTileAtMinus200ThenPlus10) {
  std::vector<float> scores(300, -200.0f);
  for (size_t j = 256; j < scores.size(); ++j)
    scores[j] = 10.0f - 0.01f * static_cast<float>(j % 9);
  this->Expect(FromScores(scores, 300));
}

TYPED_TEST(HazardTest, HiddenScore300AboveTheRest) {
  std::vector<float> scores(40, 0.3f);
  scores[39] = 300.0f;  // in the future of every query but the last
  this->Expect(FromScores(scores, 40));
}

TYPED_TEST(HazardTest, HiddenInfinities) {
  std::vector<float> scores(40, 0.3f);
  ScoreProblem clean = FromScores(scores, 20);
  ScoreProblem dirty = clean;
  // Keys 35.. belong to another document. What they hold must not matter at all, for the rows.
  clean.test.same_document = dirty.test.same_document = true;
  std::vector<int32_t> query_documents(20, 1), key_documents(40, 1);
  for (int j = 35; j < 40; ++j) {
    key_documents[j] = 2;
    dirty.x.k[j] = std::numeric_limits<float>::infinity();
  }
  Problem clean_problem = clean.Make<TypeParam>(), dirty_problem = dirty.Make<TypeParam>();
  for (Problem* problem : {&clean_problem, &dirty_problem}) {
    problem->mask.causal = false;
    problem->mask.query_documents = query_documents.data();
    problem->mask.key_documents = key_documents.data();
  }
  const Gradients<float> a = RunKernels({}, clean_problem, clean.x);
  const Gradients<float> b = RunKernels({}, dirty_problem, dirty.x);
  EXPECT_EQ(a.out, b.out);
  EXPECT_EQ(a.v, b.v);
  EXPECT_EQ(a.k, b.k);
}

TYPED_TEST(HazardTest, MaskedKeysLeaveTheDenominator) {
  // 5 visible keys among 60: the same result as with the other keys away.
  ScoreProblem all = FromScores(Alternating(60, 1.0f), 1, {.causal = false});
  ScoreProblem few = FromScores(Alternating(5, 1.0f), 1, {.causal = false});
  few.x.v.assign(all.x.v.begin(), all.x.v.begin() + 5 * 16);
  few.x.out_grad = all.x.out_grad;
  Problem masked = all.Make<TypeParam>();
  masked.mask.causal = true;
  masked.mask.query_offset = 4;
  Problem plain = few.Make<TypeParam>();
  const Gradients<float> a = RunKernels({}, masked, all.x), b = RunKernels({}, plain, few.x);
  for (size_t i = 0; i < b.out.size(); ++i) EXPECT_NEAR(a.out[i], b.out[i], 1e-6);
  for (size_t i = 0; i < a.k.size(); ++i) {
    EXPECT_NEAR(a.k[i], i < b.k.size() ? b.k[i] : 0.0f, 1e-6) << i;
  }
}

TYPED_TEST(HazardTest, RowsThatSeeNothingAreZero) {
  ScoreProblem scores = FromScores(Alternating(80, 3.0f), 80);
  Problem problem = scores.Make<TypeParam>();
  problem.mask.query_offset = -30;  // the first 30 queries stand before every key
  const Gradients<float> got = RunKernels({}, problem, scores.x);
  for (int i = 0; i < 30 * 16; ++i) EXPECT_EQ(got.out[i], 0.0f) << i;
  for (int i = 0; i < 30; ++i) EXPECT_EQ(got.q[i], 0.0f) << i;
  const Gradients<double> truth = RunDense(TypeParam(), problem, Convert<double>(scores.x));
  const Gradients<float> naive = RunDense(TypeParam(), problem, scores.x);
  ExpectAsGoodAsNaive("dK", got.k, naive.k, truth.k, truth.terms, 1e-5);
  ExpectAsGoodAsNaive("learned", got.learned, naive.learned, truth.learned, truth.learned_terms,
                      1e-5);
}

TYPED_TEST(HazardTest, NoKeysAtAll) {
  Case test{"no keys", {1, 2, 1, 3, 0, 8, 8}};
  const Tensors<float> x = MakeInputs(test, 1);
  std::vector<int32_t> documents;
  const Problem problem = MakeProblem<TypeParam>(test, MakeMask(test, documents), x);
  const Gradients<float> got = RunKernels({}, problem, x);
  for (float value : got.out) EXPECT_EQ(value, 0.0f);
  for (float value : got.q) EXPECT_EQ(value, 0.0f);
}

// A number that is not one must be seen, not turned into a quiet 0.
TYPED_TEST(HazardTest, NanIsSeen) {
  for (const char* isa : InstructionSets()) {
    UseInstructionSet(isa);
    ScoreProblem scores = FromScores(Alternating(70, 1.0f), 70);
    scores.x.k[40] = std::nanf("");
    const Gradients<float> got = RunKernels({}, scores.Make<TypeParam>(), scores.x);
    for (int i = 0; i < 40 * 16; ++i) EXPECT_TRUE(std::isfinite(got.out[i])) << i;
    EXPECT_TRUE(std::isnan(got.out[40 * 16])) << isa;
    EXPECT_TRUE(std::isnan(got.out[69 * 16])) << isa;
  }
  UseInstructionSet(InstructionSets()[0]);
}

TYPED_TEST(HazardTest, BitsDoNotDependOnLanes) {
  const Case test{"lanes", {2, 4, 2, 150, 150, 24, 24}};
  std::vector<int32_t> documents;
  Tensors<float> x = MakeInputs(test, 11);
  SetLearned<TypeParam>(4, x.learned);
  const Problem problem = MakeProblem<TypeParam>(test, MakeMask(test, documents), x);
  const int lanes = LaneCount();
  SetLaneCount(1);
  const Gradients<float> one = RunKernels({}, problem, x);
  SetLaneCount(5);
  const Gradients<float> five = RunKernels({}, problem, x);
  SetLaneCount(lanes);
  EXPECT_EQ(one.out, five.out);
  EXPECT_EQ(one.q, five.q);
  EXPECT_EQ(one.k, five.k);
  EXPECT_EQ(one.v, five.v);
  EXPECT_EQ(one.learned, five.learned);
}

}  // namespace
}  // namespace attnlab::testing
