// GPTQ (Frantar et al. 2022, arXiv:2210.17323): columns are rounded one after the other to a grid,
// and the rounding error of each is repaired, as far as the inputs' correlations allow, by the
// columns that are still free (libs/compress/second_order.h).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "absl/status/statusor.h"

namespace attnlab {

struct GptqOptions {
  int64_t bits = 4;
  int64_t group_size = 0;  // consecutive inputs of a row that share a grid; 0: the whole row
  bool symmetric = false;
  // Columns with the largest mean square come first. A group is then `group_size` columns in that
  // order, and group_index says which is whose.
  bool act_order = false;
  // All grids are fitted to the weights as they were, on groups in the order of the columns, so
  // that act_order leaves the groups contiguous. Otherwise a group's grid is fitted when the first
  // of its columns is reached. As published, errors of a block of 128 columns reach the weights
  // that the fit reads only when the block ends: where several groups share a block, the later ones
  // are fitted to weights that the earlier ones of the same block have not moved.
  bool static_groups = false;
  bool mse = false;  // grids that shrink for the least error (GridOptions::mse)
  double damp = 0.01;
};

// W_ij ~ scales[i, g] (codes[i, j] - zeros[i, g]) with g = group_index[j].
struct GptqResult {
  at::Tensor codes;          // [out, in] uint8
  at::Tensor scales, zeros;  // [out, groups] float32; zeros are integers
  at::Tensor group_index;    // [in] int32
  at::Tensor values;         // [out, in] float32: what the codes stand for
  double loss = 0;           // SolvedColumns::loss
};

// A group size that does not divide leaves a shorter last group. InvalidArgument when a weight is
// not finite; FailedPrecondition when the Hessian is singular.
absl::StatusOr<GptqResult> SolveGptq(const at::Tensor& weight,   // [out, in] float32
                                     const at::Tensor& hessian,  // [in, in]: InputMoments::hessian
                                     const GptqOptions& options);

}  // namespace attnlab
