// Symmetric integers for weights and activations: quant_method "attnlab-int".
//
//     W^ = scale_o code_oj      scale_o = max_j |W_oj| / (2^(bits - 1) - 1)      a scale a row
//     x^ = scale_t code_tj      the same of each token's activations, taken at the product
//     y_to = scale_t scale_o sum_j code_tj code_oj
//
// The sum is exact in integers (libs/packed/int_product.h), so what is computed is what int8 units
// compute. Magnitudes below 1e-5 count as 1e-5 (SmoothQuant, Xiao et al. 2022). With `hadamard` the
// product first transforms its input, x H, and the codes stand for W H: outliers of x spread over
// all inputs (QuaRot, Ashkboos et al. 2024).
//
// Stored: "weight", int8 [rows, cols], or uint8 [rows, cols / 2] of codes + 8 for 4 bits, the even
// column in the low half; and "weight_scale", float32 [rows].
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "libs/io/json.h"
#include "libs/packed/stored_matrix.h"

namespace attnlab {

struct IntOptions {
  int64_t bits = 8;             // of a weight: 8 or 4
  int64_t activation_bits = 8;  // 8 or 4; 0 = activations as they are
};

// InvalidArgument that names the field.
absl::Status Validate(const IntOptions& options);

// `weight` [rows, cols] float32; `options` is valid, and with 4 bits cols is even.
std::shared_ptr<const StoredMatrix> QuantizeInt(const at::Tensor& weight, const IntOptions& options,
                                                bool hadamard = false);

// The quantization_config of a model folder; `hadamard` names the matrices that transform their
// input, by the end of their names ("mlp.down_proj").
Json IntConfig(const IntOptions& options, const std::vector<std::string>& hadamard = {});

// Codes of each row of x [n, k] as int8 and the rows' scales [n] float32.
std::pair<at::Tensor, at::Tensor> RoundRows(const at::Tensor& x, int64_t bits);

}  // namespace attnlab
