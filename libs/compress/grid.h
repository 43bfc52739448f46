// Uniform grids, x^ = scale (code - zero), rounded to the nearest (the baseline RTN, and the grids
// of GPTQ; Frantar et al. 2022). A row's grid covers [min(0, min x), max(0, max x)]:
//
//     asymmetric  scale = (max - min) / (2^bits - 1), zero = round(-min / scale)
//     symmetric   max <- max(-min, max), min <- -max where min < 0, zero = 2^(bits - 1)
//
// A row without anything but zeros covers [-1, 1]. Halves round to the even integer.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace attnlab {

struct GridOptions {
  int64_t bits = 4;  // 1 to 8
  bool symmetric = false;
  // Tries grids shrunk to 100, 99, ... 21 per cent and keeps the one with the least
  // sum |x - x^|^2.4 in its row.
  bool mse = false;
};

struct Grid {
  at::Tensor scale, zero;  // [rows] float32; zero is an integer
  int64_t max_code = 15;
};

Grid FitGrid(const at::Tensor& values,  // [rows, n] float32
             const GridOptions& options);

// clamp(round(x / scale) + zero, 0, max_code): [rows, n] float32.
at::Tensor Codes(const at::Tensor& values, const Grid& grid);

// scale (code - zero): [rows, n] float32.
at::Tensor Values(const at::Tensor& codes, const Grid& grid);

}  // namespace attnlab
