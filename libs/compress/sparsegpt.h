// SparseGPT (Frantar and Alistarh 2023, arXiv:2301.00774): weights are removed by the score
// w^2 / U_jj^2, what their removal costs after the best repair, and the columns behind repair it
// (libs/compress/second_order.h). What is kept may be rounded to a grid in the same pass.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "absl/status/statusor.h"

namespace attnlab {

struct SparseGptOptions {
  // Unstructured (period 0): of each block of 128 columns the scores up to the floor(count *
  // sparsity)-th, so that every block is equally sparse. Otherwise `zeros` of each `period` inputs
  // of a row; the period divides in and 128.
  double sparsity = 0.5;
  int64_t zeros = 0, period = 0;
  double damp = 0.01;
  int64_t bits = 0;  // of the grid, one a row, that kept weights are rounded to; 0: none
  bool symmetric = false;
};

struct SparseGptResult {
  at::Tensor values;       // [out, in] float32
  at::Tensor codes;        // [out, in] uint8; the next three are undefined without bits
  at::Tensor scale, zero;  // [out] float32: values = scale (codes - zero)
  double loss = 0;         // SolvedColumns::loss
};

// InvalidArgument when a weight is not finite; FailedPrecondition when the Hessian is singular.
absl::StatusOr<SparseGptResult> SolveSparseGpt(
    const at::Tensor& weight,   // [out, in] float32
    const at::Tensor& hessian,  // [in, in]: InputMoments::hessian
    const SparseGptOptions& options);

}  // namespace attnlab
