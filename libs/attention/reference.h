// Attention as the formula says it, dense and slow: all scores of a row at once, through operations
// that LibTorch differentiates. What every other implementation is compared with, and how the
// analysis sees attention weights.
//
// A score that a row does not see is replaced, before any exponential, by the row's own shift:
// every term stays finite, so that the zeros that mask it afterwards meet no infinity in the
// gradient.
#pragma once

#include <vector>

#include "libs/attention/options.h"

namespace at {
class Tensor;
}

namespace attnlab {

// As Attention in op.h. Statistics in float32, or float64 for float64 operands.
at::Tensor AttentionReference(const at::Tensor& q,  // [B, H, T, D]
                              const at::Tensor& k,  // [B, Hkv, S, D]
                              const at::Tensor& v,  // [B, Hkv, S, Dv]
                              const AttentionOptions& options,
                              const std::vector<at::Tensor>& head_parameters = {});  // each [H]

// What the query rows [row_begin, row_end) weigh the keys with, W / den: [B, H, row_end -
// row_begin, S], float32 (float64 for float64 operands), 0 for keys that are not seen. A row need
// not sum to 1.
at::Tensor AttentionWeights(const at::Tensor& q,  // [B, H, T, D]
                            const at::Tensor& k,  // [B, Hkv, S, D]
                            const AttentionOptions& options,
                            const std::vector<at::Tensor>& head_parameters,  // each [H]
                            int64_t row_begin, int64_t row_end);

}  // namespace attnlab
