// The solver of SparseGPT.

#include "libs/compress/sparsegpt.h"

#include <ATen/ops/isfinite.h>

#include "libs/compress/column_solver.h"
#include "libs/compress/grid.h"
#include "libs/compress/masks.h"
#include "libs/compress/second_order.h"
#include "libs/core/check.h"
#include "libs/core/status.h"

namespace attnlab {

absl::StatusOr<SparseGptResult> SolveSparseGpt(const at::Tensor& weight, const at::Tensor& hessian,
                                               const SparseGptOptions& options) {
  const int64_t period = options.period;
  ATTNLAB_CHECK(period == 0 || (weight.size(1) % period == 0 && kSolverBlock % period == 0));
  if (!at::isfinite(weight).all().item<bool>()) {
    return absl::InvalidArgumentError("the weights are not all finite");
  }
  ATTNLAB_ASSIGN_OR_RETURN(const SecondOrder second,
                           FactorInverse(hessian, options.damp, /*by_diagonal=*/false));
  SparseGptResult result;
  if (options.bits > 0) {
    const Grid grid = FitGrid(weight, {.bits = options.bits, .symmetric = options.symmetric});
    result.scale = grid.scale;
    result.zero = grid.zero;
  }
  const at::Tensor diagonal = second.factor.diagonal();
  const auto rule = [&](const at::Tensor& current, int64_t begin, int64_t end) {
    BlockRule rule;
    rule.zeros = options.zeros;
    rule.period = period;
    const at::Tensor block = current.slice(1, begin, end);
    if (period == 0) {
      const at::Tensor score = block.square().div_(diagonal.slice(0, begin, end).square());
      rule.mask = MaskOfAll(score, options.sparsity);
    }
    if (options.bits > 0) {
      rule.scale = result.scale.unsqueeze(1).expand(block.sizes());
      rule.zero = result.zero.unsqueeze(1).expand(block.sizes());
      rule.max_code = (int64_t{1} << options.bits) - 1;
    }
    return rule;
  };
  SolvedColumns solved = SolveColumns(weight.masked_fill(second.dead, 0), second.factor, rule);
  result.values = solved.values;
  result.codes = solved.codes;
  result.loss = solved.loss;
  return result;
}

}  // namespace attnlab
