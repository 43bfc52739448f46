// GPTQ against an elimination in float64 without factor or blocks, and what it promises.

#include "libs/compress/gptq.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <string>

#include "tests/compress/correlated.h"
#include "tests/compress/naive_obs.h"

namespace attnlab {
namespace {

using ::testing::HasSubstr;

struct NaiveGrid {
  at::Tensor scale, zero;  // [out] float64
};

// Round-to-nearest's grid over a group of columns, row by row.
NaiveGrid FitNaive(const at::Tensor& group, int64_t bits, bool symmetric) {
  const double codes = std::pow(2.0, bits) - 1;
  const int64_t out = group.size(0);
  NaiveGrid grid = {at::zeros({out}, at::kDouble), at::zeros({out}, at::kDouble)};
  for (int64_t r = 0; r < out; ++r) {
    double low = std::min(0.0, group[r].min().item<double>());
    double high = std::max(0.0, group[r].max().item<double>());
    if (symmetric) {
      high = std::max(-low, high);
      if (low < 0) low = -high;
    }
    if (low == 0 && high == 0) {
      low = -1;
      high = 1;
    }
    grid.scale[r] = (high - low) / codes;
    grid.zero[r] = symmetric ? (codes + 1) / 2 : std::nearbyint(-low / ((high - low) / codes));
  }
  return grid;
}

at::Tensor NearestCodes(const at::Tensor& column, const NaiveGrid& grid, int64_t bits) {
  return (column / grid.scale).round().add(grid.zero).clamp(0, std::pow(2.0, bits) - 1);
}

struct NaiveGptq {
  at::Tensor codes, values;  // in the order of the columns
};

// `groups`: the group of each column in the order of elimination; grids are fitted to the weights
// as they are when their first column's block of 128 begins, or to the original ones (static).
NaiveGptq SolveNaively(const CorrelatedCase& made, const GptqOptions& options) {
  const int64_t in = made.weight.size(1);
  at::Tensor weight = made.weight.to(at::kDouble);
  at::Tensor hessian = made.hessian.to(at::kDouble);
  at::Tensor order = at::arange(in, at::kLong);
  if (options.act_order) order = hessian.diagonal().argsort(true, 0, /*descending=*/true);
  const at::Tensor original = weight.clone();
  weight = weight.index_select(1, order);
  hessian = hessian.index_select(0, order).index_select(1, order);

  const int64_t size = options.group_size > 0 ? options.group_size : in;
  const bool fixed = options.group_size == 0 || options.static_groups;
  NaiveGptq result = {at::zeros(weight.sizes(), at::kDouble), {}};
  at::Tensor at_block_start = weight.clone();
  std::map<int64_t, NaiveGrid> grids;  // by group
  const auto round = [&](int64_t i, const at::Tensor& current, const at::Tensor&) {
    if (i % 128 == 0) at_block_start = current.clone();
    const int64_t group = (options.static_groups ? order[i].item<int64_t>() : i) / size;
    if (grids.count(group) == 0) {
      const at::Tensor& source = fixed ? original : at_block_start;
      grids[group] = FitNaive(source.slice(1, group * size, (group + 1) * size), options.bits,
                              options.symmetric);
    }
    const NaiveGrid& grid = grids[group];
    const at::Tensor codes = NearestCodes(current.select(1, i), grid, options.bits);
    result.codes.select(1, i).copy_(codes);
    return grid.scale * (codes - grid.zero);
  };
  result.values = NaiveEliminate(weight.clone(), DampedHessian(hessian, options.damp), round);
  const at::Tensor inverse = order.argsort();
  result.codes = result.codes.index_select(1, inverse);
  result.values = result.values.index_select(1, inverse);
  return result;
}

// The values that codes, grids and group_index stand for.
at::Tensor FromParts(const GptqResult& solved) {
  const at::Tensor index = solved.group_index.to(at::kLong);
  return solved.scales.index_select(1, index) *
         (solved.codes.to(at::kFloat) - solved.zeros.index_select(1, index));
}

TEST(Gptq, AgreesWithNaiveElimination) {
  const CorrelatedCase made = MakeCorrelated(12, 192, 600);
  for (const GptqOptions& options :
       {GptqOptions{}, GptqOptions{.bits = 2, .symmetric = true}, GptqOptions{.bits = 8},
        GptqOptions{.bits = 3, .group_size = 32}, GptqOptions{.group_size = 64, .act_order = true},
        GptqOptions{.group_size = 48, .symmetric = true, .act_order = true, .static_groups = true},
        GptqOptions{.act_order = true}}) {
    SCOPED_TRACE(::testing::Message() << "bits " << options.bits << " group " << options.group_size
                                      << " act_order " << options.act_order);
    const absl::StatusOr<GptqResult> solved = SolveGptq(made.weight, made.hessian, options);
    ASSERT_TRUE(solved.ok()) << solved.status();
    const NaiveGptq naive = SolveNaively(made, options);
    const double equal =
        solved->codes.to(at::kDouble).eq(naive.codes).to(at::kDouble).mean().item<double>();
    EXPECT_GE(equal, 0.995);
    EXPECT_TRUE(solved->values.equal(FromParts(*solved)));
    EXPECT_NEAR(OutputError(made, solved->values) / OutputError(made, naive.values.to(at::kFloat)),
                1, 0.01);
  }
}

TEST(Gptq, LossIsTheDampedCost) {
  const CorrelatedCase made = MakeCorrelated(8, 160, 400);
  const absl::StatusOr<GptqResult> solved = SolveGptq(made.weight, made.hessian, {.bits = 3});
  ASSERT_TRUE(solved.ok());
  const at::Tensor change = (made.weight - solved->values).to(at::kDouble);
  const double cost =
      change.matmul(DampedHessian(made.hessian, 0.01)).mul(change).sum().item<double>() / 2;
  EXPECT_NEAR(solved->loss / cost, 1, 1e-3);
}

TEST(Gptq, BeatsRoundToNearest) {
  const CorrelatedCase made = MakeCorrelated(32, 256, 1000);
  for (const int64_t group : {0, 64}) {
    for (const int64_t bits : {2, 3, 4}) {
      const absl::StatusOr<GptqResult> solved =
          SolveGptq(made.weight, made.hessian, {.bits = bits, .group_size = group});
      ASSERT_TRUE(solved.ok());
      at::Tensor nearest = at::zeros(made.weight.sizes());
      const int64_t size = group > 0 ? group : 256;
      for (int64_t first = 0; first < 256; first += size) {
        const at::Tensor columns = made.weight.to(at::kDouble).slice(1, first, first + size);
        const NaiveGrid grid = FitNaive(columns, bits, false);
        for (int64_t j = 0; j < size; ++j) {
          const at::Tensor codes = NearestCodes(columns.select(1, j), grid, bits);
          nearest.select(1, first + j).copy_(grid.scale * (codes - grid.zero));
        }
      }
      EXPECT_LT(OutputError(made, solved->values), 0.9 * OutputError(made, nearest))
          << bits << " bits, group " << group;
    }
  }
}

TEST(Gptq, DeadInputsAreZeroAndHarmless) {
  CorrelatedCase made = MakeCorrelated(8, 64, 300);
  made.hessian.select(0, 5).zero_();
  made.hessian.select(1, 5).zero_();
  const absl::StatusOr<GptqResult> solved = SolveGptq(made.weight, made.hessian, {});
  ASSERT_TRUE(solved.ok());
  EXPECT_EQ(solved->values.select(1, 5).abs().max().item<float>(), 0);
  // The other columns are as they would be with a louder fifth weight.
  made.weight.select(1, 5).mul_(0.5);
  const absl::StatusOr<GptqResult> other =
      SolveGptq(made.weight, made.hessian, {.group_size = 32, .static_groups = true});
  made.weight.select(1, 5).mul_(100);
  const absl::StatusOr<GptqResult> louder =
      SolveGptq(made.weight, made.hessian, {.group_size = 32, .static_groups = true});
  ASSERT_TRUE(other.ok() && louder.ok());
  EXPECT_TRUE(other->codes.equal(louder->codes));
}

TEST(Gptq, FewTokensNeedDamping) {
  const CorrelatedCase made = MakeCorrelated(8, 128, 40);
  EXPECT_TRUE(SolveGptq(made.weight, made.hessian, {.damp = 0.01}).ok());
  const absl::Status status = SolveGptq(made.weight, made.hessian, {.damp = 0}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("singular with damp = 0"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("more tokens"));
}

TEST(Gptq, ValuesThatAreNotFiniteAreErrors) {
  CorrelatedCase made = MakeCorrelated(8, 32, 100);
  made.hessian[3][3] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_FALSE(SolveGptq(made.weight, made.hessian, {}).ok());
  made = MakeCorrelated(8, 32, 100);
  made.weight[2][7] = std::numeric_limits<float>::infinity();
  EXPECT_EQ(SolveGptq(made.weight, made.hessian, {}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(Gptq, LastGroupMayBeShorter) {
  const CorrelatedCase made = MakeCorrelated(8, 100, 300);
  const absl::StatusOr<GptqResult> solved =
      SolveGptq(made.weight, made.hessian, {.group_size = 64, .act_order = true});
  ASSERT_TRUE(solved.ok());
  EXPECT_EQ(solved->scales.sizes(), at::IntArrayRef({8, 2}));
  EXPECT_EQ(solved->group_index.eq(1).sum().item<int64_t>(), 36);
  EXPECT_TRUE(solved->values.equal(FromParts(*solved)));
}

}  // namespace
}  // namespace attnlab
