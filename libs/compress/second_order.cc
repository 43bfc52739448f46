// Damping and the Cholesky factor of the inverse Hessian.

#include "libs/compress/second_order.h"

#include <ATen/ops/cholesky_inverse.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/linalg_cholesky_ex.h>

#include <optional>
#include <utility>

#include "libs/core/check.h"
#include "libs/core/status.h"

namespace attnlab {
namespace {

// Undefined when `matrix` is not positive definite.
at::Tensor Cholesky(const at::Tensor& matrix, bool upper) {
  auto [factor, info] = at::linalg_cholesky_ex(matrix, upper, /*check_errors=*/false);
  return info.item<int>() == 0 && at::isfinite(factor).all().item<bool>() ? factor : at::Tensor();
}

at::Tensor InverseFactor(const at::Tensor& hessian) {
  const at::Tensor lower = Cholesky(hessian, /*upper=*/false);
  return lower.defined() ? Cholesky(at::cholesky_inverse(lower), /*upper=*/true) : at::Tensor();
}

}  // namespace

absl::StatusOr<SecondOrder> FactorInverse(const at::Tensor& hessian, double damp,
                                          bool by_diagonal) {
  ATTNLAB_CHECK(hessian.dim() == 2 && hessian.size(0) == hessian.size(1));
  SecondOrder result;
  at::Tensor damped = hessian.clone();
  result.dead = damped.diagonal().eq(0);
  damped.diagonal().masked_fill_(result.dead, 1);
  if (by_diagonal) {
    result.order = std::get<1>(
        damped.diagonal().sort(/*stable=*/std::optional<bool>(true), 0, /*descending=*/true));
    damped = damped.index_select(0, result.order).index_select(1, result.order);
  }
  damped.diagonal().add_(damped.diagonal().mean().mul(damp));
  result.factor = InverseFactor(damped);
  if (!result.factor.defined()) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "the Hessian of its %d inputs is singular with damp = %g; calibrate on more tokens "
        "(several times %d) or raise damp",
        hessian.size(0), damp, hessian.size(0)));
  }
  return result;
}

}  // namespace attnlab
