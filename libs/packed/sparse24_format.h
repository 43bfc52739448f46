// Matrices with at most two numbers other than 0 in each four consecutive inputs of a row, stored
// without the others: quant_method "attnlab-2of4". Nothing is rounded.
//
// Stored: "values" [rows, cols / 2], float32, float16 or bfloat16, the two kept of each four in
// order; and "positions" uint8 [rows, cols / 8, rounded up]: a four's two places 0..3, the smaller
// in the lower two bits, two fours a byte, the first in the low half. 9/16 of the dense bytes with
// 16-bit values.
//
// On a CUDA device products of 16-bit inputs run on the sparse tensor cores through cuSPARSELt
// where LibTorch and the device have it; everywhere else they are products with the dense matrix.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "absl/status/statusor.h"
#include "libs/io/json.h"
#include "libs/packed/stored_matrix.h"

namespace attnlab {

// `weight` [rows, cols], cols a multiple of 4, with its values in the smallest of the three types
// that holds them all exactly, bfloat16 before float16. InvalidArgument when four consecutive
// inputs of a row hold more than two.
absl::StatusOr<std::shared_ptr<const StoredMatrix>> StoreSparse24(const at::Tensor& weight);

// The quantization_config of a model folder.
Json Sparse24Config();

// Whether cuSPARSELt multiplies on `device`; tried once a device.
bool HasSparse24Product(at::Device device);

}  // namespace attnlab
