// Which weights to remove, by three published rules; true marks a weight that becomes zero.
//
//     magnitude   |W_ij|, compared over the whole matrix
//     Wanda       |W_ij| ||x_j||_2, compared over one output row (Sun et al. 2023,
//     arXiv:2306.11695) n:m         the n least of each m consecutive inputs of a row, by either
//     score
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace attnlab {

// scores: [out, in], not negative. All masks: [out, in] bool.

// Scores up to the floor(numel * sparsity)-th in ascending order, counted from 0: at least the
// share asked for, and all that equal the last. 0 <= sparsity < 1.
at::Tensor MaskOfAll(const at::Tensor& scores, double sparsity);

// The floor(in * sparsity) least of every row; the first among equals.
at::Tensor MaskOfRows(const at::Tensor& scores, double sparsity);

// The `zeros` least of each `period` inputs, which divides in; the first among equals.
at::Tensor MaskOfPeriods(const at::Tensor& scores, int64_t zeros, int64_t period);

// Wanda's variant: every row gives up the same share alpha of its summed score, so rows differ in
// sparsity; alpha is found by bisection of [0, 0.8] from 0.4, until the sparsity of the whole is
// within 0.001 of what is asked for or the bracket is below 0.001.
at::Tensor MaskOfScoreShare(const at::Tensor& scores, double sparsity);

// |W_ij| sqrt(square_norm_j).
at::Tensor WandaScores(const at::Tensor& weight,        // [out, in]
                       const at::Tensor& square_norm);  // [in]: InputMoments::square_norm

}  // namespace attnlab
