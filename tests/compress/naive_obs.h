// The elimination of columns as optimal brain surgeon writes it, in float64: the inverse Hessian of
// the columns that are still free is formed anew after every column, with no factor and no blocks.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/linalg_inv.h>
#include <ATen/ops/outer.h>

#include <cstdint>
#include <functional>

namespace attnlab {

// The damped Hessian: dead inputs 1, `damp` of the mean diagonal added.
inline at::Tensor DampedHessian(const at::Tensor& hessian, double damp) {
  at::Tensor h = hessian.to(at::kDouble).clone();
  h.diagonal().masked_fill_(h.diagonal().eq(0), 1);
  h.diagonal().add_(h.diagonal().mean().item<double>() * damp);
  return h;
}

// `round` gives what column i becomes, from all weights as they are when its turn comes and the
// inverse Hessian of columns i, i + 1, ... (in its place; columns before i are stale).
using NaiveRound =
    std::function<at::Tensor(int64_t i, const at::Tensor& weight, const at::Tensor& inverse)>;

inline at::Tensor NaiveEliminate(at::Tensor weight,          // [out, in] float64
                                 const at::Tensor& hessian,  // [in, in] float64, damped
                                 const NaiveRound& round) {
  at::Tensor inverse = at::linalg_inv(hessian);
  for (int64_t i = 0; i < weight.size(1); ++i) {
    const at::Tensor value = round(i, weight, inverse);
    const double pivot = inverse[i][i].item<double>();
    const at::Tensor row = inverse.select(0, i).clone();
    const at::Tensor error = weight.select(1, i).sub(value).div(pivot);
    weight.slice(1, i + 1).sub_(at::outer(error, row.slice(0, i + 1)));
    weight.select(1, i).copy_(value);
    inverse = inverse.sub(at::outer(row, row).div(pivot));
  }
  return weight;
}

}  // namespace attnlab
