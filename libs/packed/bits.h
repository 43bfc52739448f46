// Codes of few bits in 32-bit words, without gaps, the first code in the lowest bits.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace attnlab {

// codes [n, m] with values below 2^bits, n * bits a multiple of 32 -> int32 [n * bits / 32, m]:
// each column is packed by itself. bits: 1 to 8.
at::Tensor PackRows(const at::Tensor& codes, int64_t bits);

// The reverse: int32 [w, m] -> uint8 [32 w / bits, m]. 32 w is a multiple of bits.
at::Tensor UnpackRows(const at::Tensor& words, int64_t bits);

}  // namespace attnlab
