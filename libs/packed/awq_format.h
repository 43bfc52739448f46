// The GEMM layout of AWQ, as AutoAWQ writes it and transformers opens it:
//
//     qweight int32 [in, out / 8]      8 outputs a word, from the lowest bits up 0 2 4 6 1 3 5 7
//     qzeros  int32 [groups, out / 8]  the same order
//     scales  float16 [groups, out]    a group is group_size inputs that follow each other
//
//     W_ij = scales[g, i] (code_ij - zero[g, i]),  g = floor(j / group_size)
//
// The interleaved order lets a GPU turn a word into pairs of float16 with few instructions.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/io/json.h"
#include "libs/packed/stored_matrix.h"

namespace attnlab {

// InvalidArgument unless the layout holds such a matrix: 4 bits, rows that fill whole words, groups
// that divide a row. group_size 0: one group a row.
absl::Status CheckAwqFormat(int64_t bits, int64_t group_size, int64_t rows, int64_t cols);

// Scales are rounded to float16; InvalidArgument when one does not fit. Codes and zeros are
// integers from 0 to 15; CheckAwqFormat holds.
absl::StatusOr<std::shared_ptr<const StoredMatrix>> MakeAwqMatrix(
    const at::Tensor& codes,   // [rows, cols]
    const at::Tensor& scales,  // [rows, groups]
    const at::Tensor& zeros);  // [rows, groups]

// The quantization_config of a model folder.
Json AwqConfig(int64_t group_size);

}  // namespace attnlab
