// The words of the formulas as SIMD vectors against float64.
#include <gtest/gtest.h>

#include <cmath>

#include "kernels/cpu/vec.h"

namespace attnlab::baseline {
namespace {

float Lane(Vec v) { return v.f[kWidth - 1]; }

// Error in units of 2^-24 of `want`.
double Ulps(float got, double want) {
  return want == 0 ? (got == 0 ? 0 : 1e9) : std::abs(got - want) / std::abs(want) * 16777216;
}

TEST(WordsTest, Exp) {
  for (float x = -87.0f; x < 88.0f; x += 0.00137f) {
    ASSERT_LT(Ulps(Lane(Exp(Vec(x))), std::exp(static_cast<double>(x))), 3) << x;
  }
  EXPECT_EQ(Lane(Exp(Vec(0.0f))), 1.0f);
  EXPECT_EQ(Lane(Exp(Vec(-100.0f))), 0.0f);
  EXPECT_EQ(Lane(Exp(Vec(-1e30f))), 0.0f);
  EXPECT_EQ(Lane(Exp(Vec(-INFINITY))), 0.0f);
  EXPECT_TRUE(std::isfinite(Lane(Exp(Vec(1000.0f)))));
  EXPECT_TRUE(std::isnan(Lane(Exp(Vec(std::nanf(""))))));
}

TEST(WordsTest, ExpDiffKeepsSmallScores) {
  for (float m : {0.0f, 0.5f, 5.0f, 60.0f}) {
    for (float size : {1e-7f, 1e-5f, 1e-3f, 0.1f, 0.33f, 0.35f, 0.49f}) {
      for (float s : {size, -size}) {
        const double want = std::exp(-static_cast<double>(m)) * std::expm1(static_cast<double>(s));
        // Above the limit the rounding of s - m counts, once and through the difference.
        const double bound = size < 0.34f ? 6 : 8 + 4 * m / size;
        EXPECT_LT(Ulps(Lane(ExpDiff(Vec(s), Vec(m))), want), bound) << s << " " << m;
        EXPECT_LT(Ulps(attnlab::ExpDiff(s, m), want), bound) << s << " " << m;
      }
    }
  }
  EXPECT_EQ(Lane(ExpDiff(Vec(0.0f), Vec(3.0f))), 0.0f);
  EXPECT_EQ(Lane(ExpDiff(Vec(-200.0f), Vec(200.0f))), 0.0f);
}

TEST(WordsTest, Sigmoid) {
  for (float x = -80.0f; x < 80.0f; x += 0.0173f) {
    ASSERT_LT(Ulps(Lane(Sigmoid(Vec(x))), 1 / (1 + std::exp(-static_cast<double>(x)))), 5) << x;
  }
  EXPECT_NEAR(Lane(Sigmoid(Vec(-500.0f))), 0.0f, 1e-30);
  EXPECT_EQ(Lane(Sigmoid(Vec(500.0f))), 1.0f);
}

TEST(WordsTest, KinksAndChoices) {
  const Vec x(2.0f);
  for (float s : {-3.0f, -0.0f, 0.0f, 3.0f}) {
    EXPECT_EQ(Lane(Relu(Vec(s))), attnlab::Relu(s)) << s;
    EXPECT_EQ(Lane(Abs(Vec(s))), attnlab::Abs(s)) << s;
    EXPECT_EQ(Lane(IfNonNegative(Vec(s), x)), attnlab::IfNonNegative(s, 2.0f)) << s;
    EXPECT_EQ(Lane(IfPositive(Vec(s), x)), attnlab::IfPositive(s, 2.0f)) << s;
    EXPECT_EQ(Lane(WithSignOf(Vec(s), x)), attnlab::WithSignOf(s, 2.0f)) << s;
  }
  EXPECT_EQ(Lane(Select(Vec(0.0f), Vec(INFINITY), Vec(1.0f))), 1.0f);
  EXPECT_TRUE(std::isnan(Lane(Relu(Vec(std::nanf(""))))));
}

TEST(WordsTest, AcrossLanes) {
  const Vec v = LaneIndex() * Vec(2.0f) - Vec(1.0f);
  EXPECT_EQ(MaxOf(v), 2.0f * (kWidth - 1) - 1);
  EXPECT_EQ(MaxOf(-v), 1.0f);
  EXPECT_EQ(SumOf(v), static_cast<float>(kWidth * (kWidth - 1) - kWidth));
}

}  // namespace
}  // namespace attnlab::baseline
