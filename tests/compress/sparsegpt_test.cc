// SparseGPT against an elimination in float64 without factor or blocks, and the order of the
// pruning methods by what they do to a layer's output.

#include "libs/compress/sparsegpt.h"

#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "libs/compress/masks.h"
#include "tests/compress/correlated.h"
#include "tests/compress/naive_obs.h"

namespace attnlab {
namespace {

// The pivot that each column has when its turn comes, 1 / U_jj^2: [in].
at::Tensor NaivePivots(const at::Tensor& hessian) {
  at::Tensor pivots = at::zeros(hessian.size(0), at::kDouble);
  at::Tensor inverse = at::linalg_inv(hessian);
  for (int64_t i = 0; i < hessian.size(0); ++i) {
    pivots[i] = inverse[i][i];
    const at::Tensor row = inverse.select(0, i).clone();
    inverse = inverse.sub(at::outer(row, row).div(pivots[i]));
  }
  return pivots;
}

// The value at place floor(count * sparsity) of the sorted scores.
double Threshold(const at::Tensor& scores, double sparsity) {
  const at::Tensor flat = scores.to(at::kDouble).flatten().contiguous();
  std::vector<double> sorted(flat.const_data_ptr<double>(),
                             flat.const_data_ptr<double>() + flat.numel());
  std::sort(sorted.begin(), sorted.end());
  return sorted[static_cast<size_t>(static_cast<double>(sorted.size()) * sparsity)];
}

at::Tensor SolveNaively(const CorrelatedCase& made, const SparseGptOptions& options) {
  const at::Tensor hessian = DampedHessian(made.hessian, options.damp);
  const at::Tensor pivots = NaivePivots(hessian);
  const int64_t width = options.period > 0 ? options.period : 128;
  at::Tensor mask;
  const auto round = [&](int64_t i, const at::Tensor& current, const at::Tensor&) {
    if (i % width == 0) {
      const at::Tensor scores = (current.square() / pivots).slice(1, i, i + width);
      if (options.period > 0) {
        mask = at::zeros(scores.sizes(), at::kBool);
        for (int64_t r = 0; r < scores.size(0); ++r) {
          std::vector<std::pair<double, int64_t>> places;
          for (int64_t j = 0; j < width; ++j) places.push_back({scores[r][j].item<double>(), j});
          std::sort(places.begin(), places.end());
          for (int64_t k = 0; k < options.zeros; ++k) mask[r][places[k].second] = true;
        }
      } else {
        mask = scores.le(Threshold(scores, options.sparsity));
      }
    }
    return current.select(1, i).masked_fill(mask.select(1, i % width), 0);
  };
  return NaiveEliminate(made.weight.to(at::kDouble), hessian, round);
}

double ZeroShare(const at::Tensor& values) {
  return values.eq(0).to(at::kDouble).mean().item<double>();
}

TEST(SparseGpt, AgreesWithNaiveElimination) {
  const CorrelatedCase made = MakeCorrelated(12, 192, 600);
  for (const SparseGptOptions& options :
       {SparseGptOptions{}, SparseGptOptions{.sparsity = 0.8},
        SparseGptOptions{.zeros = 2, .period = 4}, SparseGptOptions{.zeros = 4, .period = 8}}) {
    SCOPED_TRACE(::testing::Message() << options.sparsity << " period " << options.period);
    const auto solved = SolveSparseGpt(made.weight, made.hessian, options);
    ASSERT_TRUE(solved.ok()) << solved.status();
    const at::Tensor naive = SolveNaively(made, options);
    const double same_mask =
        solved->values.eq(0).eq(naive.eq(0)).to(at::kDouble).mean().item<double>();
    EXPECT_GE(same_mask, 0.999);
    EXPECT_NEAR(OutputError(made, solved->values) / OutputError(made, naive.to(at::kFloat)), 1,
                0.01);
  }
}

TEST(SparseGpt, EveryBlockIsEquallySparse) {
  const CorrelatedCase made = MakeCorrelated(16, 320, 800);
  const auto solved = SolveSparseGpt(made.weight, made.hessian, {.sparsity = 0.3});
  ASSERT_TRUE(solved.ok());
  for (int64_t begin = 0; begin < 320; begin += 128) {
    const at::Tensor block = solved->values.slice(1, begin, begin + 128);
    const int64_t count = block.numel();
    // One more than the floor: the threshold itself goes, too.
    EXPECT_EQ(block.eq(0).sum().item<int64_t>(), static_cast<int64_t>(count * 0.3) + 1);
  }
}

TEST(SparseGpt, PatternsAreExact) {
  const CorrelatedCase made = MakeCorrelated(16, 192, 600);
  for (const int64_t period : {4, 8}) {
    const auto solved =
        SolveSparseGpt(made.weight, made.hessian, {.zeros = period / 2, .period = period});
    ASSERT_TRUE(solved.ok());
    const at::Tensor zeros = solved->values.eq(0).reshape({-1, period}).sum(1);
    EXPECT_TRUE(zeros.eq(period / 2).all().item<bool>());
  }
}

TEST(SparseGpt, KeptWeightsLieOnTheGrid) {
  const CorrelatedCase made = MakeCorrelated(16, 192, 600);
  const auto solved = SolveSparseGpt(made.weight, made.hessian, {.sparsity = 0.5, .bits = 4});
  ASSERT_TRUE(solved.ok());
  EXPECT_GE(ZeroShare(solved->values), 0.5);
  const at::Tensor values =
      solved->scale.unsqueeze(1) * (solved->codes.to(at::kFloat) - solved->zero.unsqueeze(1));
  EXPECT_TRUE(values.equal(solved->values));
  EXPECT_LE(solved->codes.max().item<int64_t>(), 15);
  // Rounding costs something, but far less than the pruning does.
  const auto pruned = SolveSparseGpt(made.weight, made.hessian, {.sparsity = 0.5});
  ASSERT_TRUE(pruned.ok());
  EXPECT_GT(solved->loss, pruned->loss);
  EXPECT_LT(solved->loss, 2 * pruned->loss);
}

// SparseGPT <= Wanda <= magnitude in the error of the output.
TEST(SparseGpt, OrderOfMethods) {
  const CorrelatedCase made = MakeCorrelated(64, 256, 1000);
  const at::Tensor square_norm = made.inputs.square().sum(0);
  for (const int64_t period : {0, 4, 8}) {
    const auto error = [&](const at::Tensor& scores) {
      const at::Tensor mask =
          period > 0 ? MaskOfPeriods(scores, period / 2, period) : MaskOfRows(scores, 0.5);
      return OutputError(made, made.weight.masked_fill(mask, 0));
    };
    const auto solved =
        SolveSparseGpt(made.weight, made.hessian, {.zeros = period / 2, .period = period});
    ASSERT_TRUE(solved.ok());
    const double wanda = error(WandaScores(made.weight, square_norm));
    EXPECT_LT(OutputError(made, solved->values), 0.9 * wanda) << period;
    EXPECT_LT(wanda, 0.9 * error(made.weight.abs())) << period;
  }
}

TEST(SparseGpt, FewTokensNeedDamping) {
  const CorrelatedCase made = MakeCorrelated(8, 128, 40);
  EXPECT_TRUE(SolveSparseGpt(made.weight, made.hessian, {}).ok());
  EXPECT_EQ(SolveSparseGpt(made.weight, made.hessian, {.damp = 0}).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace attnlab
