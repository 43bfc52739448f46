// Attention in blocks of query rows through LibTorch's matrix products: forward and a backward that
// recomputes the scores, for every variant, on any device. What carries training where no kernel of
// our own runs.
//
//     forward    S = scale q k^T,  m = max(floor, row max S),  den = sum M + tail,  o = (W v) / den
//     backward   dS = W' (dO/den . v) - M' (dO/den . o)
//                dq = scale dS k,  dk = scale dS^T q,  dv = W^T (dO/den)
//
// Kept between the two: q, k, v, o and two numbers a row. Statistics and scores are float32
// (float64 for float64 operands). bfloat16 operands stay bfloat16 in the products on a GPU, which
// accumulate in float32; elsewhere halves are widened first. Keys that no row of a block sees are
// not touched; memory is one block of scores, three in the backward.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "libs/attention/options.h"

namespace attnlab {

struct BlockedOutput {
  at::Tensor out;          // [B, H, T, Dv], q's dtype; that of statistics where heads learn numbers
  at::Tensor shift;        // [B, H, T] m; undefined for variants without one
  at::Tensor denominator;  // [B, H, T] den
  at::Tensor live_tiles;   // of a CUDA kernel (kernels/attention.h), or undefined
};

struct AttentionGradients {
  at::Tensor q;  // each like its operand
  at::Tensor k;
  at::Tensor v;
  std::vector<at::Tensor> learned;  // each [H], in the dtype of statistics
};

BlockedOutput BlockedForward(const at::Tensor& q,  // [B, H, T, D]
                             const at::Tensor& k,  // [B, Hkv, S, D]
                             const at::Tensor& v,  // [B, Hkv, S, Dv]
                             const AttentionOptions& options,
                             const std::vector<at::Tensor>& head_parameters);  // each [H]

AttentionGradients BlockedBackward(const at::Tensor& out_grad,  // [B, H, T, Dv]
                                   const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                   const BlockedOutput& forward, const AttentionOptions& options,
                                   const std::vector<at::Tensor>& head_parameters);

}  // namespace attnlab
