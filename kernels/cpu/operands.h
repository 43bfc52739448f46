// Operands of any dtype and stride as float rows that the tile products can read, and back.
#pragma once

#include <cstring>

#include "kernels/attention.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/scratch.h"

namespace attnlab::ATTNLAB_ISA {

struct FloatRows {
  const float* data;
  int64_t stride;

  ATTNLAB_HD const float* Row(int64_t row) const { return data + row * stride; }
};

ATTNLAB_HD int64_t RoundUp(int64_t n, int64_t step) { return (n + step - 1) / step * step; }
ATTNLAB_HD int64_t Least(int64_t a, int64_t b) { return a < b ? a : b; }
ATTNLAB_HD int64_t Most(int64_t a, int64_t b) { return a > b ? a : b; }

ATTNLAB_HD float FromBFloat16(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float x;
  std::memcpy(&x, &wide, sizeof(x));
  return x;
}

// Rounds to nearest, ties to even.
ATTNLAB_HD uint16_t ToBFloat16(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  if (x != x) return static_cast<uint16_t>((bits >> 16) | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// The rows [rows, dim] of one head of an operand.
struct HeadRows {
  const void* data;
  int64_t stride;
  int64_t dim;
  DType dtype;
};

ATTNLAB_HD HeadRows OneHead(const Operand& operand, DType dtype, int64_t batch, int64_t head,
                            int64_t dim) {
  const int64_t offset = batch * operand.batch_stride + head * operand.head_stride;
  const int64_t size = dtype == DType::kFloat32 ? 4 : 2;
  return {static_cast<const char*>(operand.data) + offset * size, operand.row_stride, dim, dtype};
}

// How rows will be read, which decides whether they can stay where they are.
enum class Reading {
  kNumbers,  // number by number, each row a few times
  kVectors,  // by whole vectors, each row a few times
  kTiles     // by whole vectors, many rows at a time: tight rows, since wide strides fight in L1
};

// Rows [begin, begin + count) as floats: in place if they are float and fit for `reading`, else
// copied to scratch, RoundUp(dim, kWidth) a row, zeros behind dim.
inline FloatRows Resolve(const HeadRows& rows, int64_t begin, int64_t count, Reading reading,
                         float* scratch) {
  const int64_t dim = rows.dim;
  const bool fits =
      reading == Reading::kNumbers ||
      (dim % kWidth == 0 && (reading == Reading::kVectors || rows.stride == dim || count == 1));
  const float* floats = static_cast<const float*>(rows.data) + begin * rows.stride;
  if (rows.dtype == DType::kFloat32 && fits) return {floats, rows.stride};
  const uint16_t* halves = static_cast<const uint16_t*>(rows.data) + begin * rows.stride;
  const int64_t width = RoundUp(dim, kWidth);
  for (int64_t i = 0; i < count; ++i) {
    float* to = scratch + i * width;
    if (rows.dtype == DType::kFloat32) {
      std::memcpy(to, floats + i * rows.stride, dim * sizeof(float));
    } else {
      for (int64_t j = 0; j < dim; ++j) to[j] = FromBFloat16(halves[i * rows.stride + j]);
    }
    for (int64_t j = dim; j < width; ++j) to[j] = 0.0f;
  }
  return {scratch, width};
}

// Writes row `row` of one head.
inline void WriteRow(const Result& result, DType dtype, int64_t batch, int64_t head, int64_t row,
                     int64_t dim, const float* from) {
  const int64_t offset =
      batch * result.batch_stride + head * result.head_stride + row * result.row_stride;
  if (dtype == DType::kFloat32) {
    std::memcpy(static_cast<float*>(result.data) + offset, from, dim * sizeof(float));
  } else {
    uint16_t* to = static_cast<uint16_t*>(result.data) + offset;
    for (int64_t j = 0; j < dim; ++j) to[j] = ToBFloat16(from[j]);
  }
}

// Floats that PackTransposed writes.
ATTNLAB_HD int64_t PackedSize(int64_t rows, int64_t dim) { return RoundUp(rows, kPanel) * dim; }

// Transposes a square of vectors: swaps its off-diagonal halves, then does so in each quarter.
template <int kHalf = kWidth / 2>
ATTNLAB_HD void TransposeSquare(Vec* square) {
  Vec::Ints upper, lower;  // lane l of a pair of vectors is l, or kWidth + l in the second
  for (int lane = 0; lane < kWidth; ++lane) {
    upper[lane] = (lane & kHalf) == 0 ? lane : kWidth + lane - kHalf;
    lower[lane] = (lane & kHalf) == 0 ? lane + kHalf : kWidth + lane;
  }
#pragma GCC unroll 16
  for (int i = 0; i < kWidth; ++i) {
    if ((i & kHalf) != 0) continue;
    const Vec a = square[i], b = square[i + kHalf];
    square[i] = Vec(__builtin_shuffle(a.f, b.f, upper));
    square[i + kHalf] = Vec(__builtin_shuffle(a.f, b.f, lower));
  }
  if constexpr (kHalf > 1) TransposeSquare<kHalf / 2>(square);
}

// rows [count, dim] -> their transpose as the Right operand of Multiply: panels of kPanel rows
// each, zeros after the last row.
inline Right PackTransposed(const FloatRows& rows, int64_t count, int64_t dim, float* to) {
  for (int64_t begin = 0; begin < RoundUp(count, kPanel); begin += kWidth) {
    float* panel = to + begin / kPanel * kPanel * dim + begin % kPanel;
    const int64_t filled = Most(0, Least(kWidth, count - begin));
    int64_t j = 0;
    for (; filled == kWidth && j + kWidth <= dim; j += kWidth) {
      Vec square[kWidth];
#pragma GCC unroll 16
      for (int i = 0; i < kWidth; ++i) square[i] = Load(rows.Row(begin + i) + j);
      TransposeSquare(square);
#pragma GCC unroll 16
      for (int i = 0; i < kWidth; ++i) Store(panel + (j + i) * kPanel, square[i]);
    }
    for (; j < dim; ++j) {
      for (int64_t i = 0; i < kWidth; ++i) {
        panel[j * kPanel + i] = i < filled ? rows.Row(begin + i)[j] : 0.0f;
      }
    }
  }
  return {to, kPanel, kPanel * dim};
}

// keep[i, c] = 1 where query query_begin + i sees key key_begin + c, else 0; `columns` a row.
inline void FillKeep(const Mask& mask, int64_t query_begin, int64_t rows, int64_t key_begin,
                     int64_t columns, int64_t keys, float* keep, int64_t stride) {
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t query = query_begin + i;
    const Span span = mask.RowSpan(query, keys);
    float* row = keep + i * stride;
    const int64_t begin = span.begin - key_begin, end = span.end - key_begin;
    const int64_t kept = span.kept - key_begin;
    for (int64_t c = 0; c < columns; ++c) {
      row[c] = static_cast<float>(((c >= begin) & (c < end)) | (c < kept));
    }
    if (mask.query_documents == nullptr) continue;
    for (int64_t c = 0; c < Least(columns, keys - key_begin); ++c) {
      if (mask.key_documents[key_begin + c] != mask.query_documents[query]) row[c] = 0.0f;
    }
  }
}

}  // namespace attnlab::ATTNLAB_ISA
