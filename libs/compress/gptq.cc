// The solver of GPTQ.

#include "libs/compress/gptq.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/isfinite.h>

#include "libs/compress/column_solver.h"
#include "libs/compress/grid.h"
#include "libs/compress/second_order.h"
#include "libs/core/status.h"

namespace attnlab {
namespace {

// The grids of the groups, and which of them each column has.
class Groups {
 public:
  // `order` as in SecondOrder.
  Groups(const at::Tensor& weight, const at::Tensor& order, const GptqOptions& options)
      : fit_({.bits = options.bits, .symmetric = options.symmetric, .mse = options.mse}),
        in_(weight.size(1)),
        size_(options.group_size > 0 ? options.group_size : in_) {
    const int64_t count = (in_ + size_ - 1) / size_;
    scales_ = at::empty({weight.size(0), count}, weight.options());
    zeros_ = at::empty_like(scales_);
    const at::Tensor position = at::arange(in_, weight.options().dtype(at::kLong));
    const bool by_column = options.static_groups && order.defined();
    index_ = (by_column ? order : position).div(size_, "floor");
  }

  // Fits group `g` to columns [g * size, (g + 1) * size) of `weight`.
  void Fit(const at::Tensor& weight, int64_t g) {
    const Grid grid = FitGrid(weight.slice(1, g * size_, (g + 1) * size_), fit_);
    scales_.select(1, g).copy_(grid.scale);
    zeros_.select(1, g).copy_(grid.zero);
  }

  void FitAll(const at::Tensor& weight) {
    for (int64_t g = 0; g < scales_.size(1); ++g) Fit(weight, g);
  }

  // Fits the groups that begin in columns [begin, end).
  void FitBegun(const at::Tensor& weight, int64_t begin, int64_t end) {
    for (int64_t g = (begin + size_ - 1) / size_; g * size_ < end; ++g) Fit(weight, g);
  }

  BlockRule Rule(int64_t begin, int64_t end) const {
    const at::Tensor groups = index_.slice(0, begin, end);
    BlockRule rule;
    rule.scale = scales_.index_select(1, groups);
    rule.zero = zeros_.index_select(1, groups);
    rule.max_code = (int64_t{1} << fit_.bits) - 1;
    return rule;
  }

  const at::Tensor& scales() const { return scales_; }
  const at::Tensor& zeros() const { return zeros_; }
  const at::Tensor& index() const { return index_; }  // [in], in the order of elimination

 private:
  const GridOptions fit_;
  const int64_t in_, size_;
  at::Tensor scales_, zeros_, index_;
};

}  // namespace

absl::StatusOr<GptqResult> SolveGptq(const at::Tensor& weight, const at::Tensor& hessian,
                                     const GptqOptions& options) {
  if (!at::isfinite(weight).all().item<bool>()) {
    return absl::InvalidArgumentError("the weights are not all finite");
  }
  ATTNLAB_ASSIGN_OR_RETURN(const SecondOrder second,
                           FactorInverse(hessian, options.damp, options.act_order));
  Groups groups(weight, second.order, options);
  // As published, a row's grid sees the weights of dead inputs, a group's does not.
  const bool whole_rows = options.group_size <= 0;
  if (whole_rows) groups.FitAll(weight);
  at::Tensor work = weight.masked_fill(second.dead, 0);
  if (!whole_rows && options.static_groups) groups.FitAll(work);
  if (second.order.defined()) work = work.index_select(1, second.order);

  const bool dynamic = !whole_rows && !options.static_groups;
  SolvedColumns solved = SolveColumns(std::move(work), second.factor,
                                      [&](const at::Tensor& current, int64_t begin, int64_t end) {
                                        if (dynamic) groups.FitBegun(current, begin, end);
                                        return groups.Rule(begin, end);
                                      });

  GptqResult result;
  result.codes = solved.codes;
  result.values = solved.values;
  result.group_index = groups.index();
  if (second.order.defined()) {
    const at::Tensor inverse = second.order.argsort();
    result.codes = result.codes.index_select(1, inverse);
    result.values = result.values.index_select(1, inverse);
    result.group_index = result.group_index.index_select(0, inverse);
  }
  result.group_index = result.group_index.to(at::kInt);
  result.scales = groups.scales();
  result.zeros = groups.zeros();
  result.loss = solved.loss;
  return result;
}

}  // namespace attnlab
