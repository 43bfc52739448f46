// C = A B or C += A B on tiles that fit the cache, C held in registers: kBlockRows rows by two
// vectors at a time. A is read one number at a time, so it may be stored either way round; B is
// read by vectors. Each element of C sums over k in ascending order with one rounding a step, so
// its bits do not depend on the tile that it stands in.
#pragma once

#include <cstdint>

#include "kernels/cpu/vec.h"

namespace attnlab::ATTNLAB_ISA {

#if defined(__AVX512F__)
inline constexpr int kBlockRows = 8;
#elif defined(__AVX2__)
inline constexpr int kBlockRows = 6;
#else
inline constexpr int kBlockRows = 4;
#endif
inline constexpr int kPanel = 2 * kWidth;  // columns of a panel of B

// Element (i, k) at data[i * row + k * column].
struct Left {
  const float* data;
  int64_t row;
  int64_t column;
};

// Element (k, j) at data[(j / kPanel) * panel + k * row + j % kPanel].
struct Right {
  const float* data;
  int64_t row;
  int64_t panel;
};

// Rows that lie in memory one after the other.
ATTNLAB_HD Left Rows(const float* data, int64_t stride) { return {data, stride, 1}; }
ATTNLAB_HD Left Transposed(const float* data, int64_t stride) { return {data, 1, stride}; }
ATTNLAB_HD Right Columns(const float* data, int64_t stride) { return {data, stride, kPanel}; }

template <int kRows, int kVecs>
ATTNLAB_HD void MultiplyBlock(int64_t depth, const float* a, int64_t a_row, int64_t a_column,
                              const float* b, int64_t b_row, float* c, int64_t c_row, bool add) {
  Vec sum[kRows][kVecs];
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < kVecs; ++j) {
      sum[i][j] = add ? Load(c + i * c_row + j * kWidth) : Vec(0.0f);
    }
  }
  for (int64_t k = 0; k < depth; ++k) {
    Vec right[kVecs];
#pragma GCC unroll 4
    for (int j = 0; j < kVecs; ++j) right[j] = Load(b + k * b_row + j * kWidth);
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      const Vec left(a[i * a_row + k * a_column]);
#pragma GCC unroll 4
      for (int j = 0; j < kVecs; ++j) sum[i][j] = left * right[j] + sum[i][j];
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < kVecs; ++j) Store(c + i * c_row + j * kWidth, sum[i][j]);
  }
}

template <int kVecs>
inline void MultiplyPanel(int64_t rows, int64_t depth, Left a, const float* b, int64_t b_row,
                          float* c, int64_t c_row, bool add) {
  int64_t i = 0;
  const auto block = [&]<int kRows>() {
    MultiplyBlock<kRows, kVecs>(depth, a.data + i * a.row, a.row, a.column, b, b_row, c + i * c_row,
                                c_row, add);
    i += kRows;
  };
  while (i + kBlockRows <= rows) block.template operator()<kBlockRows>();
  if (i + 4 <= rows) block.template operator()<4>();
  if (i + 2 <= rows) block.template operator()<2>();
  if (i + 1 <= rows) block.template operator()<1>();
}

// c [rows, columns], columns a multiple of kWidth; a [rows, depth]; b [depth, columns].
inline void Multiply(int64_t rows, int64_t columns, int64_t depth, Left a, Right b, float* c,
                     int64_t c_row, bool add) {
  int64_t j = 0;
  for (; j + kPanel <= columns; j += kPanel) {
    MultiplyPanel<2>(rows, depth, a, b.data + j / kPanel * b.panel, b.row, c + j, c_row, add);
  }
  if (j < columns) {
    MultiplyPanel<1>(rows, depth, a, b.data + j / kPanel * b.panel, b.row, c + j, c_row, add);
  }
}

}  // namespace attnlab::ATTNLAB_ISA
