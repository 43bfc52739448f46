// Masks of pruning.

#include "libs/compress/masks.h"

#include <ATen/ops/cumsum.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <optional>

#include "libs/core/check.h"

namespace attnlab {
namespace {

constexpr double kMaxShare = 0.8, kTolerance = 1e-3;

int64_t Count(int64_t total, double sparsity) {
  ATTNLAB_CHECK(sparsity >= 0 && sparsity < 1);
  return static_cast<int64_t>(static_cast<double>(total) * sparsity);
}

std::tuple<at::Tensor, at::Tensor> Ascending(const at::Tensor& scores) {
  return scores.sort(/*stable=*/std::optional<bool>(true), /*dim=*/-1, /*descending=*/false);
}

// In the last dimension, the `count` least.
at::Tensor Least(const at::Tensor& scores, int64_t count) {
  at::Tensor mask = at::zeros(scores.sizes(), scores.options().dtype(at::kBool));
  return mask.scatter_(-1, std::get<1>(Ascending(scores)).slice(-1, 0, count), true);
}

}  // namespace

at::Tensor MaskOfAll(const at::Tensor& scores, double sparsity) {
  const at::Tensor flat = scores.flatten();
  const int64_t k = Count(flat.numel(), sparsity);
  return scores.le(std::get<0>(flat.kthvalue(k + 1)));
}

at::Tensor MaskOfRows(const at::Tensor& scores, double sparsity) {
  return Least(scores, Count(scores.size(1), sparsity));
}

at::Tensor MaskOfPeriods(const at::Tensor& scores, int64_t zeros, int64_t period) {
  ATTNLAB_CHECK(scores.size(1) % period == 0 && 0 <= zeros && zeros <= period);
  return Least(scores.reshape({scores.size(0), -1, period}), zeros).reshape(scores.sizes());
}

at::Tensor MaskOfScoreShare(const at::Tensor& scores, double sparsity) {
  ATTNLAB_CHECK(sparsity >= 0 && sparsity < 1);
  const at::Tensor sorted = std::get<0>(Ascending(scores));
  const at::Tensor running = at::cumsum(sorted, 1);
  const at::Tensor total = scores.sum(1, /*keepdim=*/true);
  const auto mask_of = [&](double share) {
    at::Tensor given_up = running.le(total.mul(share)).sum(1, /*keepdim=*/true);
    return scores.le(sorted.gather(1, given_up.sub_(1).clamp_min_(0)));
  };
  double share = kMaxShare / 2, low = 0, high = kMaxShare;
  for (;;) {
    at::Tensor mask = mask_of(share);
    const double reached =
        static_cast<double>(mask.sum().item<int64_t>()) / static_cast<double>(mask.numel());
    if (std::abs(reached - sparsity) <= kTolerance || high - low < kTolerance) return mask;
    (reached > sparsity ? high : low) = share;
    share = (low + high) / 2;
  }
}

at::Tensor WandaScores(const at::Tensor& weight, const at::Tensor& square_norm) {
  return weight.abs().mul_(square_norm.sqrt());
}

}  // namespace attnlab
