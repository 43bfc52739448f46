// What the kernels take for granted of a variant: the shift law, that rows merge in any order, that
// dual numbers give the slopes, and that the traits say the truth. Each runs for every line of
// kernels/weightings.def.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

#include "kernels/row_state.h"
#include "kernels/weighting_info.h"
#include "tests/kernels/cases.h"
#include "tests/kernels/registry.h"

namespace attnlab::testing {
namespace {

constexpr double kScores[] = {-200, -30, -3, -0.6, -0.4, -1e-3, 1e-3, 0.4, 0.6, 3, 30};

template <class F>
Row<F> MakeRow(double learned = 0.7) {
  Row<F> row;
  row.position = F(11.0f);
  row.visible = F(12.0f);
  for (F& value : row.learned) value = F(static_cast<float>(learned));
  return row;
}

template <class Variant>
class LawTest : public ::testing::Test {};
TYPED_TEST_SUITE(LawTest, RegisteredVariants, VariantNames);

// Shifted variants shrink by e^-d when m grows by d; the others do not look at m.
TYPED_TEST(LawTest, ShiftLaw) {
  const TypeParam variant;
  const bool shifted = TypeParam::kTraits.shifted;
  for (double s : kScores) {
    for (double m : {31.0, 40.0}) {
      for (double d : {0.5, 20.0}) {
        const double factor = shifted ? std::exp(d) : 1.0;
        const auto before = variant.Weigh(s, m), after = variant.Weigh(s, m + d);
        const double slack = 1e-12 * (std::abs(before.mass) + (shifted ? std::exp(-m) : 0.0));
        EXPECT_NEAR(after.weight * factor, before.weight, slack) << s << " " << m << " " << d;
        EXPECT_NEAR(after.mass * factor, before.mass, slack) << s << " " << m << " " << d;
      }
    }
  }
}

TYPED_TEST(LawTest, TraitsHold) {
  const TypeParam variant;
  for (double s : kScores) {
    const auto w = variant.Weigh(Dual<double>(s, 1.0), 31.0);
    EXPECT_GE(w.weight.value, 0) << "decode and tile skipping take weights for not negative";
    EXPECT_GE(w.mass.value, 0);
    if (TypeParam::kTraits.no_mass) {
      EXPECT_EQ(w.mass.value, 0) << s;
      EXPECT_EQ(w.mass.slope, 0) << s;
    }
    if (s >= 0) continue;
    if (TypeParam::kTraits.exact_zeros) {
      EXPECT_EQ(w.weight.value, 0) << s;
      EXPECT_EQ(w.weight.slope, 0) << s;
    }
    if (TypeParam::kTraits.massless) {
      EXPECT_EQ(w.mass.value, 0) << s;
      EXPECT_EQ(w.mass.slope, 0) << s;
    }
  }
}

TYPED_TEST(LawTest, SlopesAreDerivatives) {
  const TypeParam variant;
  for (double s : kScores) {
    for (double m : {31.0, 33.0}) {
      const double h = 1e-4 * std::min(1.0, std::abs(s));
      const auto low = variant.Weigh(s - h, m), high = variant.Weigh(s + h, m);
      const auto w = variant.Weigh(Dual<double>(s, 1.0), m);
      const double slack = 1e-6 * (std::abs(w.weight.slope) + std::abs(w.mass.slope)) +
                           1e-10 * (w.weight.value + w.mass.value);
      EXPECT_NEAR(w.weight.slope, (high.weight - low.weight) / (2 * h), slack) << s << " " << m;
      EXPECT_NEAR(w.mass.slope, (high.mass - low.mass) / (2 * h), slack) << s << " " << m;
    }
  }
}

TYPED_TEST(LawTest, LearnedSlopesAreDerivatives) {
  const TypeParam variant;
  for (size_t p = 0; p < TypeParam::kLearned.size(); ++p) {
    const double h = 1e-5, m = 2;
    Row<double> low = MakeRow<double>(), high = low;
    low.learned[p] -= h;
    high.learned[p] += h;
    Row<Dual<double>> dual;
    dual.position = Dual<double>(low.position, 0);
    dual.visible = Dual<double>(low.visible, 0);
    for (int i = 0; i < kMaxLearned; ++i) {
      dual.learned[i] = {0.7f, i == static_cast<int>(p) ? 1.0 : 0.0};
    }
    const auto score = RowScore(variant, dual);
    const auto score_low = RowScore(variant, low), score_high = RowScore(variant, high);
    EXPECT_NEAR(score.gain.slope, (score_high.gain - score_low.gain) / (2 * h), 1e-8);
    EXPECT_NEAR(score.offset.slope, (score_high.offset - score_low.offset) / (2 * h), 1e-8);
    EXPECT_NEAR(score.slope.slope, (score_high.slope - score_low.slope) / (2 * h), 1e-8);
    EXPECT_NEAR(variant.Tail(Dual<double>(m, 0), dual).slope,
                (variant.Tail(m, high) - variant.Tail(m, low)) / (2 * h), 1e-8);
  }
}

// A row cut into parts, absorbed and merged in any order, ends as the dense row.
TYPED_TEST(LawTest, RowsMergeInAnyOrder) {
  const TypeParam variant;
  std::mt19937 random(3);
  std::normal_distribution<float> normal(0.0f, 4.0f);
  constexpr int kKeys = 40, kDim = 3, kParts = 5;
  std::vector<double> scores(kKeys);
  std::vector<float> values(kKeys * kDim);
  for (double& s : scores) s = normal(random);
  scores[0] = -200;  // a part whose scores are far below what comes later
  for (float& v : values) v = normal(random);
  const Row<double> exact_row = MakeRow<double>();
  const Row<float> row = MakeRow<float>();

  double shift = variant.Floor(exact_row), denominator = 0, out[kDim] = {};
  for (double s : scores) shift = TypeParam::kTraits.shifted ? std::max(shift, s) : shift;
  for (int j = 0; j < kKeys; ++j) {
    const auto w = variant.Weigh(scores[j], shift);
    denominator += w.mass;
    for (int c = 0; c < kDim; ++c) out[c] += w.weight * values[j * kDim + c];
  }
  denominator += variant.Tail(shift, exact_row);

  for (int trial = 0; trial < 20; ++trial) {
    std::vector<int> order(kParts);
    for (int i = 0; i < kParts; ++i) order[i] = i;
    std::shuffle(order.begin(), order.end(), random);
    float sums[kParts][kDim];
    std::vector<RowState<TypeParam>> parts;
    for (int part = 0; part < kParts; ++part) {
      parts.emplace_back(variant, row, kDim, sums[part]);
      for (int j = part; j < kKeys; j += kParts) {
        parts.back().Absorb(static_cast<float>(scores[j]), &values[j * kDim]);
      }
    }
    for (int i = 1; i < kParts; ++i) parts[order[0]].Merge(parts[order[i]]);
    const float got = parts[order[0]].Finish();
    EXPECT_NEAR(got, denominator, 3e-6 * denominator);
    for (int c = 0; c < kDim; ++c) {
      EXPECT_NEAR(sums[order[0]][c], out[c] / denominator, 3e-5) << "trial " << trial;
    }
  }
}

TYPED_TEST(LawTest, EmptyRowIsZero) {
  float sum[2];
  const TypeParam variant;
  const Row<float> row = MakeRow<float>();
  RowState<TypeParam> state(variant, row, 2, sum);
  RowState<TypeParam> empty = state;
  state.Merge(empty);
  EXPECT_GE(state.Finish(), 0.0f);
  EXPECT_EQ(sum[0], 0.0f);
  EXPECT_EQ(sum[1], 0.0f);
}

// The closed-form gradient of the dense computation, which kernels are held against, is the slope
// of its output.
class DenseTest : public EveryVariant {};
ATTNLAB_FOR_EVERY_VARIANT(DenseTest);

TEST_P(DenseTest, GradientIsTheDerivative) {
  Problem problem;
  problem.weighting = GetParam();
  SetDefaultConstants(problem);
  problem.shape = {1, 2, 1, 3, 4, 2, 3};
  problem.mask.query_offset = 1;
  problem.scale = 0.8f;
  std::mt19937 random(5);
  std::normal_distribution<double> normal;
  Tensors<double> x;
  x.q.resize(12);
  x.k.resize(8);
  x.v.resize(12);
  x.out_grad.resize(18);
  for (auto* tensor : {&x.q, &x.k, &x.v, &x.out_grad}) {
    for (double& value : *tensor) value = normal(random);
  }
  x.learned = {0.9, 0.8, 0.1, 0.2, 0.05, 0.02};
  const Gradients<double> gradients = ComputeExact(problem, x);
  const auto loss = [&] {
    const auto out = ComputeExact(problem, x).out;
    double sum = 0;
    for (size_t i = 0; i < out.size(); ++i) sum += out[i] * x.out_grad[i];
    return sum;
  };
  const auto check = [&](const char* what, std::vector<double>& tensor,
                         const std::vector<double>& gradient) {
    for (size_t i = 0; i < tensor.size(); ++i) {
      const double kept = tensor[i], h = 1e-6;
      tensor[i] = kept + h;
      const double high = loss();
      tensor[i] = kept - h;
      const double low = loss();
      tensor[i] = kept;
      EXPECT_NEAR(gradient[i], (high - low) / (2 * h), 2e-5) << what << " " << i;
    }
  };
  check("q", x.q, gradients.q);
  check("k", x.k, gradients.k);
  check("v", x.v, gradients.v);
  check("learned", x.learned, gradients.learned);
}

TEST(RegistryTest, EveryVariantIsDescribed) {
  std::set<std::string> names;
  for (const WeightingInfo& info : Weightings()) {
    EXPECT_TRUE(names.insert(info.text.name).second) << info.text.name << " is there twice";
    EXPECT_GT(std::string(info.text.formula).size(), 0u) << info.text.name;
    EXPECT_GT(std::string(info.text.source).size(), 0u) << info.text.name;
    EXPECT_LE(info.constants.size(), static_cast<size_t>(kMaxConstants));
    EXPECT_LE(info.learned.size(), static_cast<size_t>(kMaxLearned));
    EXPECT_EQ(FindWeighting(info.text.name), static_cast<int>(names.size()) - 1);
  }
  EXPECT_FALSE(FindWeighting("no such variant").has_value());
#define ATTNLAB_WEIGHTING(file, Type) EXPECT_STREQ(Type::kText.name, #file);
#include "kernels/weightings.def"
#undef ATTNLAB_WEIGHTING
}

TEST(RegistryTest, LadderOfFirstValues) {
  const Learned slope{"slope", 0.5f, 0.25f, ""};
  EXPECT_EQ(InitialValue(slope, 0), 0.5f);
  EXPECT_EQ(InitialValue(slope, 2), 0.03125f);
}

// Kernels may take any shift where the tail shrinks with it, or is next to nothing.
TEST(TailTest, FollowsTheShiftOrIsSmall) {
  for (const WeightingInfo& info : Weightings()) {
    float constants[kMaxConstants] = {};
    for (size_t i = 0; i < info.constants.size(); ++i) constants[i] = info.constants[i].value;
    if (info.traits.shifted) {
      EXPECT_TRUE(info.tail_follows(constants)) << info.text.name;
    }
  }
  const WeightingInfo& softpick = Weightings()[*FindWeighting("softpick")];
  float epsilon = 1e-5f;
  EXPECT_TRUE(softpick.tail_follows(&epsilon));
  epsilon = 1e-3f;
  EXPECT_FALSE(softpick.tail_follows(&epsilon));
}

}  // namespace
}  // namespace attnlab::testing
