// Small pieces that the tensor paths share: the dtype of statistics, row constants, and the end of
// a row.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/scalar_tensor.h>

#include <cmath>
#include <vector>

#include "kernels/weighting.h"
#include "libs/attention/field.h"
#include "libs/attention/options.h"
#include "libs/attention/visibility.h"

namespace attnlab {

// float32 for halves and floats, float64 for doubles.
inline at::ScalarType StatisticsType(const at::Tensor& operand) {
  return operand.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

inline double ScaleOf(const AttentionOptions& options, int64_t head_dim) {
  return options.scale > 0 ? options.scale : 1 / std::sqrt(static_cast<double>(head_dim));
}

// Row constants of a block: position and visible from `visibility`, learned numbers as they come.
inline Row<Field> RowOf(const Visibility& visibility, const std::vector<at::Tensor>& learned) {
  Row<Field> row = {Field(visibility.position), Field(visibility.visible), {}};
  for (size_t i = 0; i < learned.size(); ++i) row.learned[i] = Field(learned[i]);
  return row;
}

// `a` where it is a tensor; a constant as a tensor that broadcasts, of the dtype and device of
// `like`.
inline at::Tensor TensorOf(const Field& a, const at::Tensor& like) {
  return a.is_constant() ? at::scalar_tensor(a.constant(), like.options()) : a.tensor();
}

// 1 / denominator, 0 for a row whose denominator is 0: it has no output and no gradient.
inline at::Tensor ReciprocalOf(const at::Tensor& denominator) {
  const at::Tensor dead = denominator.eq(0);
  return denominator.masked_fill(dead, 1).reciprocal().masked_fill(dead, 0);
}

// The sum of the masses of each row, one of `visible` each where all are the same number.
inline Field SumOf(const Field& mass, const Field& visible) {
  return mass.is_constant() ? mass * visible : Field(mass.tensor().sum(-1, /*keepdim=*/true));
}

}  // namespace attnlab
