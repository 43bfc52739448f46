// Keys and values stored with few bits: asymmetric, a scale and a minimum for each group of a
// token's head,
//
//     code = clamp(round((x - minimum) / scale), 0, 2^bits - 1)      x^ = minimum + scale * code
//
// with minimum and (max - min) / (2^bits - 1) rounded to float16 before the codes are taken. With
// `rotate`, keys and queries pass an orthonormal Hadamard transform after RoPE: scores stay the
// same, and outliers of a key's components spread over its head (QuaRot, Ashkboos et al. 2024).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "absl/status/status.h"

namespace attnlab {

struct KvQuantization {
  int64_t bits = 0;     // of a number: 8, 4 or 2; 0 = as computed
  int64_t group = 0;    // numbers that share a scale and a minimum; 0 = head_dim
  bool rotate = false;  // keys and queries

  template <class Visitor>
  void ForEach(Visitor&& visit) {
    visit("bits", bits, "bits of a stored key or value number: 8, 4 or 2; 0 = as computed");
    visit("group", group, "numbers that share a scale and a minimum; 0 = head_dim");
    visit("rotate", rotate, "Hadamard transform of keys and queries after RoPE");
  }
};

// InvalidArgument that names the field, its value and what it must be.
absl::Status Validate(const KvQuantization& options, int64_t head_dim);

// Numbers [..., D] as stored: D * bits / 8 bytes, the first number in the lowest bits.
struct KvCodes {
  at::Tensor codes;    // [..., D * bits / 8] uint8
  at::Tensor scale;    // [..., D / group] float16
  at::Tensor minimum;  // [..., D / group] float16
};

// `options` is valid and its bits are not 0. A row's codes depend on that row alone.
KvCodes QuantizeKv(const at::Tensor& x, const KvQuantization& options);
at::Tensor DequantizeKv(const KvCodes& stored, const KvQuantization& options, at::ScalarType dtype);

// What a cache gives back of x, in the dtype of x: the same bits. x itself when bits are 0.
at::Tensor QuantizeDequantize(const at::Tensor& x,  // [..., D]
                              const KvQuantization& options);

// Queries or keys [..., D] under the transform of `rotate`; Sylvester blocks of the largest power
// of two in D.
at::Tensor RotateHeads(const at::Tensor& x);

}  // namespace attnlab
