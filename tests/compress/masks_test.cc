// Masks against sorting written out, ties included.

#include "libs/compress/masks.h"

#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "tests/compress/correlated.h"

namespace attnlab {
namespace {

using Row = std::vector<float>;

Row ValuesOf(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.to(at::kFloat).flatten().contiguous();
  return Row(flat.const_data_ptr<float>(), flat.const_data_ptr<float>() + flat.numel());
}

// Places of values[begin, end), ascending, equal ones in their order.
std::vector<int64_t> Sorted(const Row& values, int64_t begin, int64_t end) {
  std::vector<int64_t> places(end - begin);
  std::iota(places.begin(), places.end(), begin);
  std::stable_sort(places.begin(), places.end(),
                   [&](int64_t a, int64_t b) { return values[a] < values[b]; });
  return places;
}

// Scores with many equal values.
at::Tensor ScoresWithTies(int64_t out, int64_t in) {
  return (MakeCorrelated(out, in, 8).weight * 100).round().abs();
}

TEST(Masks, RowsLoseTheirLeastScores) {
  for (const double sparsity : {0.0, 0.25, 0.5, 0.7}) {
    const at::Tensor scores = ScoresWithTies(20, 52);
    const Row values = ValuesOf(scores);
    Row expected(values.size(), 0);
    for (int64_t r = 0; r < 20; ++r) {
      const std::vector<int64_t> places = Sorted(values, r * 52, (r + 1) * 52);
      for (int64_t k = 0; k < static_cast<int64_t>(52 * sparsity); ++k) expected[places[k]] = 1;
    }
    EXPECT_EQ(ValuesOf(MaskOfRows(scores, sparsity)), expected) << sparsity;
  }
}

TEST(Masks, PeriodsLoseTheirLeastScores) {
  for (const int64_t period : {4, 8}) {
    const at::Tensor scores = ScoresWithTies(10, 48);
    const Row values = ValuesOf(scores);
    Row expected(values.size(), 0);
    for (int64_t begin = 0; begin < 480; begin += period) {
      const std::vector<int64_t> places = Sorted(values, begin, begin + period);
      for (int64_t k = 0; k < period / 2; ++k) expected[places[k]] = 1;
    }
    EXPECT_EQ(ValuesOf(MaskOfPeriods(scores, period / 2, period)), expected) << period;
  }
}

TEST(Masks, TheWholeMatrixLosesWhatEqualsTheThreshold) {
  const at::Tensor scores = at::tensor({3.f, 1.f, 2.f, 2.f, 5.f, 2.f, 0.f, 4.f}).reshape({2, 4});
  // Sorted: 0 1 2 2 2 3 4 5; place 4 * 0.5 ... of eight is place 4, a 2: five go.
  EXPECT_EQ(ValuesOf(MaskOfAll(scores, 0.5)), (Row{0, 1, 1, 1, 0, 1, 1, 0}));
  EXPECT_EQ(ValuesOf(MaskOfAll(scores, 0.0)), (Row{0, 0, 0, 0, 0, 0, 1, 0}));
}

TEST(Masks, WandaWeighsInputs) {
  const at::Tensor weight = at::tensor({1.f, -2.f, 3.f, -4.f}).reshape({1, 4});
  const at::Tensor square_norm = at::tensor({100.f, 1.f, 4.f, 0.f});
  EXPECT_EQ(ValuesOf(WandaScores(weight, square_norm)), (Row{10, 2, 6, 0}));
}

TEST(Masks, TheVariantGivesUpTheSameShareOfEachRow) {
  const CorrelatedCase made = MakeCorrelated(64, 256, 300);
  const at::Tensor scores = WandaScores(made.weight, made.inputs.square().sum(0));
  for (const double sparsity : {0.3, 0.5, 0.7}) {
    const at::Tensor mask = MaskOfScoreShare(scores, sparsity);
    EXPECT_NEAR(mask.to(at::kDouble).mean().item<double>(), sparsity, 0.002);
    const at::Tensor share = (scores * mask).sum(1) / scores.sum(1);
    EXPECT_LT((share.max() - share.min()).item<double>(), 0.02);
  }
}

}  // namespace
}  // namespace attnlab
