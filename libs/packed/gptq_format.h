// The storage of GPTQ, as AutoGPTQ began it and GPTQModel and transformers write it:
//
//     qweight int32 [in * bits / 32, out]      codes along the input, the first in the lowest bits
//     qzeros  int32 [groups, out * bits / 32]  zeros along the output; version 1: less one
//     scales  float16 [groups, out]            g_idx int32 [in]: the group of each input
//
//     W_ij = scales[g, i] (code_ij - zero[g, i]),  g = g_idx[j]
//
// 3-bit codes lie 32 in three words without gaps, the 11th and 22nd split between two. Version 1
// has no place for a zero of 0, which an asymmetric grid needs where no weight is negative: there
// implementations disagree about carries between neighbours. Symmetric grids are written in
// version 1, which everything opens, asymmetric ones in version 2.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/io/json.h"
#include "libs/packed/formats.h"
#include "libs/packed/stored_matrix.h"

namespace attnlab {

struct GptqFormat {
  int64_t bits = 4;        // 2, 3, 4 or 8
  int64_t group_size = 0;  // 0: one group a row
  bool symmetric = true;
  bool act_order = false;
};

// InvalidArgument unless bits are known and numbers of a row and of a column fill whole words.
absl::Status CheckGptqFormat(int64_t bits, int64_t rows, int64_t cols);

// Scales are rounded to float16; InvalidArgument when one does not fit. Codes and zeros are
// integers from 0 to 2^bits - 1; zeros of a symmetric format are at least 1.
absl::StatusOr<std::shared_ptr<const StoredMatrix>> MakeGptqMatrix(
    const at::Tensor& codes,        // [rows, cols]
    const at::Tensor& scales,       // [rows, groups]
    const at::Tensor& zeros,        // [rows, groups]
    const at::Tensor& group_index,  // [cols]
    const GptqFormat& format);

// The quantization_config of a model folder.
Json GptqConfig(const GptqFormat& format);

}  // namespace attnlab
