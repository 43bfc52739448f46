// AWQ (Lin et al. 2023, arXiv:2306.00978): weights that meet loud inputs are scaled up before they
// are rounded, and the grids of the rest are clipped.
//
//     s_j = a_j^r / sqrt(max a^r min a^r),   a_j = mean|x_j|,   r = 0, 1/20, ... 19/20
//
// where r gives the least squared change of what the matrices' block puts out.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

#include "libs/compress/grid.h"

namespace attnlab {

struct AwqGridOptions {
  int64_t bits = 4;
  int64_t group_size = 128;  // a divisor of in; 0: the whole row
};

// scale = (max - min) / (2^bits - 1), at least 1e-5 / (2^bits - 1), zero = round(-min / scale)
// within the codes; the range need not hold 0. One grid a row of `values` [rows, n].
Grid FitAwqGrid(const at::Tensor& values, int64_t bits);

// [out, in]: the values of the nearest codes, group by group.
at::Tensor RoundAwq(const at::Tensor& weight, const AwqGridOptions& options);

// The s [in] above for which `change`, the mean squared change of the output when the weights are
// Q(W s) / s, is least.
at::Tensor SearchAwqScales(const at::Tensor& abs_mean,  // [in]: InputMoments::abs_mean
                           const std::function<double(const at::Tensor& s)>& change);

// The weights clipped, a row's group each to the c max|w|, c = 1, 0.95, ... 0.55, for which the
// group's share of the output changes least: the mean over tokens of (x (w - Q(clip w)))^2.
at::Tensor ClipAwq(const at::Tensor& weight,  // [out, in]
                   const at::Tensor& sample,  // [n, in]: inputs
                   const AwqGridOptions& options);

}  // namespace attnlab
