#include "libs/packed/bits.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include "libs/core/check.h"

namespace attnlab {

namespace {

// Two neighbouring words as one of 64 bits, shifted.
at::Tensor UnpackByOperators(const at::Tensor& words, int64_t bits) {
  const int64_t count = words.size(0);
  const at::Tensor bit = at::arange(count * 32 / bits, words.options().dtype(at::kLong)).mul(bits);
  const at::Tensor word = bit.div(32, "floor"), wide = words.to(at::kLong).bitwise_and(0xffffffff);
  const at::Tensor low = wide.index_select(0, word);
  const at::Tensor high = wide.index_select(0, word.add(1).clamp_max(count - 1));
  return low.bitwise_or(high.bitwise_left_shift(32))
      .bitwise_right_shift(bit.remainder(32).unsqueeze(1))
      .bitwise_and((int64_t{1} << bits) - 1)
      .to(at::kByte);
}

}  // namespace

// Word by word and column by column in memory order: rows of words are contiguous.
at::Tensor PackRows(const at::Tensor& codes, int64_t bits) {
  ATTNLAB_CHECK(codes.dim() == 2 && codes.size(0) * bits % 32 == 0);
  const at::Tensor source = codes.to(at::kCPU, at::kByte).contiguous();
  const int64_t rows = source.size(0), width = source.size(1);
  const at::Tensor words = at::zeros({rows * bits / 32, width}, at::kInt);
  const uint8_t* from = source.const_data_ptr<uint8_t>();
  auto* to = reinterpret_cast<uint32_t*>(words.mutable_data_ptr<int32_t>());
  for (int64_t row = 0; row < rows; ++row, from += width) {
    const int64_t bit = row * bits, shift = bit % 32;
    uint32_t* low = to + bit / 32 * width;
    for (int64_t i = 0; i < width; ++i) low[i] |= uint32_t{from[i]} << shift;
    if (shift + bits <= 32) continue;
    for (int64_t i = 0; i < width; ++i) low[width + i] |= uint32_t{from[i]} >> (32 - shift);
  }
  return words.to(codes.device());
}

at::Tensor UnpackRows(const at::Tensor& words, int64_t bits) {
  ATTNLAB_CHECK(words.dim() == 2 && words.size(0) * 32 % bits == 0);
  if (!words.is_cpu()) return UnpackByOperators(words, bits);
  const at::Tensor source = words.contiguous();
  const int64_t rows = source.size(0) * 32 / bits, width = source.size(1);
  at::Tensor codes = at::empty({rows, width}, at::kByte);
  const auto* from = reinterpret_cast<const uint32_t*>(source.const_data_ptr<int32_t>());
  uint8_t* to = codes.mutable_data_ptr<uint8_t>();
  const uint32_t mask = (uint32_t{1} << bits) - 1;
  for (int64_t row = 0; row < rows; ++row, to += width) {
    const int64_t bit = row * bits, shift = bit % 32;
    const uint32_t* low = from + bit / 32 * width;
    if (shift + bits <= 32) {
      for (int64_t i = 0; i < width; ++i) to[i] = static_cast<uint8_t>(low[i] >> shift & mask);
    } else {
      for (int64_t i = 0; i < width; ++i) {
        const uint32_t both = low[i] >> shift | low[width + i] << (32 - shift);
        to[i] = static_cast<uint8_t>(both & mask);
      }
    }
  }
  return codes;
}

}  // namespace attnlab
