// Factors that move from the inputs of matrices into their weights without changing what a layer
// computes: x_j / s_j times W_ij s_j. What makes x gives up s: a norm's gain, or the rows of the
// matrix before (SmoothQuant, Xiao et al. 2022, arXiv:2211.10438; AWQ, Lin et al. 2023,
// arXiv:2306.00978).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <initializer_list>

#include "libs/model/transformer.h"

namespace attnlab {

// The matrices of layer `layer` that share an input, all of them numbers.
using SlotGroup = std::initializer_list<MatrixSlot>;

// `s` [hidden]: the norm before q, k and v, or before gate and up.
void ScaleBehindNorm(Transformer& model, int64_t layer, SlotGroup group, const at::Tensor& s);

// `s`: the outputs of `before`, which `after` reads one for one: v and o without shared heads, up
// and down.
void ScaleBetween(Transformer& model, int64_t layer, MatrixSlot before, MatrixSlot after,
                  const at::Tensor& s);

}  // namespace attnlab
