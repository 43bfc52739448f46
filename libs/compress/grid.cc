#include "libs/compress/grid.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/where.h>

#include <limits>

namespace attnlab {
namespace {

constexpr int kShrinkSteps = 80, kShrinkOf = 100;
constexpr double kShrinkNorm = 2.4;

Grid MakeGrid(const at::Tensor& low, const at::Tensor& high, const GridOptions& options) {
  Grid grid;
  grid.max_code = (int64_t{1} << options.bits) - 1;
  const double steps = static_cast<double>(grid.max_code);
  grid.scale = (high - low) / steps;
  grid.zero = options.symmetric ? at::full_like(grid.scale, (steps + 1) / 2)
                                : (low.neg() / grid.scale).round();
  return grid;
}

}  // namespace

Grid FitGrid(const at::Tensor& values, const GridOptions& options) {
  at::Tensor low = values.amin(1).clamp_max(0), high = values.amax(1).clamp_min(0);
  if (options.symmetric) {
    high = at::maximum(low.abs(), high);
    low = at::where(low.lt(0), high.neg(), low);
  }
  const at::Tensor empty = low.eq(0).logical_and(high.eq(0));
  low = low.masked_fill(empty, -1);
  high = high.masked_fill(empty, 1);
  Grid best = MakeGrid(low, high, options);
  if (!options.mse) return best;
  at::Tensor least = at::full_like(best.scale, std::numeric_limits<double>::infinity());
  for (int step = 0; step < kShrinkSteps; ++step) {
    const double share = 1 - static_cast<double>(step) / kShrinkOf;
    // A symmetric grid keeps its zero: shrinking changes its scale alone.
    const Grid grid = MakeGrid(low * share, high * share, options);
    const at::Tensor error =
        (Values(Codes(values, grid), grid) - values).abs().pow(kShrinkNorm).sum(1);
    const at::Tensor better = error.lt(least);
    least = at::where(better, error, least);
    best.scale = at::where(better, grid.scale, best.scale);
    best.zero = at::where(better, grid.zero, best.zero);
  }
  return best;
}

at::Tensor Codes(const at::Tensor& values, const Grid& grid) {
  return ((values / grid.scale.unsqueeze(1)).round() + grid.zero.unsqueeze(1))
      .clamp(0, grid.max_code);
}

at::Tensor Values(const at::Tensor& codes, const Grid& grid) {
  return grid.scale.unsqueeze(1) * (codes - grid.zero.unsqueeze(1));
}

}  // namespace attnlab
