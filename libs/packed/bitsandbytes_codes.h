// The arithmetic of bitsandbytes' 4-bit storage: blocks of numbers to codes and magnitudes, and
// back. Private to bitsandbytes_4bit.cc, which holds what files say of them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <utility>

#include "libs/packed/bitsandbytes_format.h"

namespace attnlab {

inline constexpr int64_t kNestedBlock = 256;

// The magnitudes of double quantization; `map` is undefined without it.
struct Nested {
  at::Tensor absmax;  // [blocks / 256, rounded up] float32
  at::Tensor map;     // [256] float32
  double offset = 0;
};

// Blocks of `size` that `count` numbers fill, the last one perhaps in part.
constexpr int64_t Blocks(int64_t count, int64_t size) { return (count + size - 1) / size; }

// values[codes] * scale of each number's block: [n] float32.
at::Tensor ExpandBlocks(const at::Tensor& codes, const at::Tensor& values, const at::Tensor& scale,
                        int64_t block_size);

// The largest magnitude of each block, and x divided by it, within [-1, 1]; 1e-38 stands for a
// magnitude of 0. The last block, when it is not whole, is divided; others are multiplied with the
// reciprocal.
std::pair<at::Tensor, at::Tensor> ScaleBlocks(const at::Tensor& x, int64_t block_size);

// The codes of the values nearest to `scaled` [n, even], two a byte, the first one high:
// [n / 2, 1] uint8.
at::Tensor FourBitCodes(const at::Tensor& scaled, FourBitType type);

// Blocks' magnitudes as 8-bit codes of what is left after their mean; fills `nested`.
at::Tensor QuantizeMagnitudes(const at::Tensor& absmax, Nested& nested);

}  // namespace attnlab
