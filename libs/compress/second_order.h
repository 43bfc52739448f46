// The second-order view of a matrix's inputs (optimal brain surgeon, Hassibi and Stork 1993; in the
// form of GPTQ, Frantar et al. 2022, arXiv:2210.17323, and SparseGPT, Frantar and Alistarh 2023,
// arXiv:2301.00774). Changing W to V costs
//
//     tr((W - V) H (W - V)^T) / 2,   H = 2 / n sum x x^T,
//
// and rounding column j with error e is best repaired by moving the columns after it by
// -e U[j, :] / U[j, j], where U is the upper Cholesky factor of the inverse: U^T U = H^-1.
#pragma once

#include <ATen/core/Tensor.h>

#include "absl/status/statusor.h"

namespace attnlab {

struct SecondOrder {
  at::Tensor factor;  // [in, in] float32: U, of the columns in `order`
  at::Tensor order;   // [in] int64: the columns as they are eliminated; undefined: as they stand
  at::Tensor dead;    // [in] bool: inputs that were always zero; their weights do nothing
};

// Dead inputs get 1 on the diagonal, then `damp` times the mean of the diagonal is added to it.
// by_diagonal: the columns with the largest diagonal come first (GPTQ's act-order).
// FailedPrecondition when what comes out is not positive definite.
absl::StatusOr<SecondOrder> FactorInverse(const at::Tensor& hessian,  // [in, in] float32
                                          double damp, bool by_diagonal);

}  // namespace attnlab
