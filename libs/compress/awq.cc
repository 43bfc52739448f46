#include "libs/compress/awq.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/minimum.h>
#include <ATen/ops/where.h>

#include <limits>

namespace attnlab {
namespace {

constexpr int kSteps = 20;      // of r, and of the clipping ratio
constexpr int kClipSteps = 10;  // clipping stops at one half
constexpr int64_t kClipTokens = 512;
constexpr double kLeastScale = 1e-4, kLeastRange = 1e-5;

}  // namespace

Grid FitAwqGrid(const at::Tensor& values, int64_t bits) {
  Grid grid;
  grid.max_code = (int64_t{1} << bits) - 1;
  const at::Tensor low = values.amin(1), high = values.amax(1);
  grid.scale = (high - low).clamp_min(kLeastRange) / static_cast<double>(grid.max_code);
  grid.zero = (low / grid.scale).round().neg().clamp(0, grid.max_code);
  return grid;
}

at::Tensor RoundAwq(const at::Tensor& weight, const AwqGridOptions& options) {
  const int64_t group = options.group_size > 0 ? options.group_size : weight.size(1);
  const at::Tensor grouped = weight.reshape({-1, group});
  const Grid grid = FitAwqGrid(grouped, options.bits);
  return Values(Codes(grouped, grid), grid).view(weight.sizes());
}

at::Tensor SearchAwqScales(const at::Tensor& abs_mean,
                           const std::function<double(const at::Tensor& s)>& change) {
  at::Tensor best;
  double least = std::numeric_limits<double>::infinity();
  for (int step = 0; step < kSteps; ++step) {
    at::Tensor s = abs_mean.pow(static_cast<double>(step) / kSteps).clamp_min(kLeastScale);
    s = s / (s.max() * s.min()).sqrt();
    const double found = change(s);
    if (found < least || !best.defined()) {
      least = found;
      best = s;
    }
  }
  return best;
}

at::Tensor ClipAwq(const at::Tensor& weight, const at::Tensor& sample,
                   const AwqGridOptions& options) {
  const int64_t out = weight.size(0), in = weight.size(1);
  const int64_t size = options.group_size > 0 ? options.group_size : in, groups = in / size;
  const int64_t stride = std::max<int64_t>(1, sample.size(0) / kClipTokens);
  const at::Tensor x = sample.slice(0, 0, sample.size(0), stride)
                           .reshape({-1, groups, size})
                           .transpose(0, 1);                                 // [groups, n, size]
  const at::Tensor w = weight.reshape({out, groups, size}).transpose(0, 1);  // [groups, out, size]
  const at::Tensor largest = w.abs().amax(-1, /*keepdim=*/true);
  at::Tensor best = largest, least;
  for (int step = 0; step < kClipSteps; ++step) {
    const at::Tensor limit = largest * (1 - static_cast<double>(step) / kSteps);
    const at::Tensor clipped = at::maximum(at::minimum(w, limit), -limit);
    const at::Tensor rounded =
        RoundAwq(clipped.reshape({-1, size}), {.bits = options.bits, .group_size = 0})
            .view(w.sizes());
    const at::Tensor change =
        x.matmul((w - rounded).transpose(1, 2)).square().mean(1).unsqueeze(-1);  // [groups, out, 1]
    if (!least.defined()) {
      least = change;
      continue;
    }
    const at::Tensor better = change.lt(least);
    least = at::where(better, change, least);
    best = at::where(better, limit, best);
  }
  return at::maximum(at::minimum(w, best), -best).transpose(0, 1).reshape({out, in});
}

}  // namespace attnlab
