// The two ways through the columns give the same codes, zeros and loss.

#include "libs/compress/column_solver.h"

#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include "libs/compress/grid.h"
#include "libs/compress/masks.h"
#include "libs/compress/second_order.h"
#include "tests/compress/correlated.h"

namespace attnlab {
namespace {

TEST(ColumnSolver, RowsAndColumnsAgree) {
  const CorrelatedCase made = MakeCorrelated(40, 200, 600);
  const auto second = FactorInverse(made.hessian, 0.01, /*by_diagonal=*/false);
  ASSERT_TRUE(second.ok());
  const Grid grid = FitGrid(made.weight, {.bits = 4});
  for (const int64_t period : {0, 4, 8}) {
    for (const bool quantized : {false, true}) {
      SCOPED_TRACE(::testing::Message() << "period " << period << " quantized " << quantized);
      const BlockRuler ruler = [&](const at::Tensor& weight, int64_t begin, int64_t end) {
        const at::Tensor block = weight.slice(1, begin, end);
        BlockRule rule;
        rule.zeros = period / 2;
        rule.period = period;
        if (period == 0) rule.mask = MaskOfRows(block.abs(), 0.4);
        if (quantized) {
          rule.scale = grid.scale.unsqueeze(1).expand(block.sizes());
          rule.zero = grid.zero.unsqueeze(1).expand(block.sizes());
          rule.max_code = grid.max_code;
        }
        return rule;
      };
      const SolvedColumns rows =
          SolveColumns(made.weight.clone(), second->factor, ruler, SolverPath::kRows);
      const SolvedColumns columns =
          SolveColumns(made.weight.clone(), second->factor, ruler, SolverPath::kColumns);
      EXPECT_NEAR(rows.loss / columns.loss, 1, 1e-4);
      const double apart = (rows.values - columns.values).abs().gt(1e-4).sum().item<double>();
      EXPECT_LE(apart / static_cast<double>(made.weight.numel()), quantized ? 0.005 : 0);
      ASSERT_EQ(columns.codes.defined(), quantized);
      if (!quantized) continue;
      EXPECT_GE(rows.codes.eq(columns.codes).to(at::kDouble).mean().item<double>(), 0.995);
      const at::Tensor values = Values(columns.codes.to(at::kFloat), grid);
      EXPECT_TRUE(values.equal(columns.values));
    }
  }
}

}  // namespace
}  // namespace attnlab
