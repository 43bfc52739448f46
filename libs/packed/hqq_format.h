// The storage of HQQ (Badri and Shaji 2023), as its package and transformers write and open it.
// A matrix is numbers in groups: W [out, in] seen as [groups, group_size] (axis 1) or as
// [group_size, groups] (axis 0), in memory order, and
//
//     W^ = (code - zero) scale        scale and zero a group; zero need not be an integer
//
//     W_q       codes as below     scale, zero   [groups, 1] or [1, groups], floating
//     nbits, group_size, axis      int32 scalars        shape   int64 [2]: out, in
//     packing   "4bit_u8", ..., the bytes of a text; with further such marks of the package
//
// Codes are packed along the first dimension of the grouped view, in equal parts: a byte of 4-bit
// codes holds row r in its high half and row r + R / 2 in its low half; 2-bit codes have four
// parts, 1-bit codes eight, the first in the highest bits. Ten 3-bit codes share an int32, rows
// padded to a multiple of ten. Codes of 5, 6 and 8 bits have a byte each.
//
// scale and zero are kept in the dtype that they come in: float32 keeps the method's numbers,
// float16 and bfloat16 take half the room.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "libs/io/json.h"
#include "libs/packed/stored_matrix.h"

namespace attnlab {

struct HqqFormat {
  int64_t bits = 4;         // 8, 6, 5, 4, 3, 2 or 1
  int64_t group_size = 64;  // a multiple of 8; 0: one group an output (axis 1) or input (axis 0)
  int64_t axis = 1;
};

// Rows and columns of the grouped view of a matrix [rows, cols].
struct HqqView {
  int64_t rows = 0, cols = 0;
};
HqqView GroupedView(const HqqFormat& format, int64_t rows, int64_t cols);

// InvalidArgument unless the layout holds such a matrix.
absl::Status CheckHqqFormat(const HqqFormat& format, int64_t rows, int64_t cols);

// CheckHqqFormat holds; `codes` are integers below 2^bits, scale and zero of one floating dtype.
std::shared_ptr<const StoredMatrix> MakeHqqMatrix(const at::Tensor& codes,  // the grouped view
                                                  const at::Tensor& scale,  // [groups, 1] or
                                                  const at::Tensor& zero,   // [1, groups]
                                                  const HqqFormat& format, int64_t rows,
                                                  int64_t cols);

// The quantization_config of a model folder.
Json HqqConfig(const HqqFormat& format);

}  // namespace attnlab
