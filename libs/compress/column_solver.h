// The loop that GPTQ and SparseGPT share: columns are replaced one after the other, each by what a
// rule makes of it, and the error of each is spread over the columns that are still free
// (libs/compress/second_order.h). Columns go in blocks of 128: within a block each error moves the
// block's own columns at once; what lies behind the block is moved by one matrix product.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

namespace attnlab {

inline constexpr int64_t kSolverBlock = 128;

// What becomes of the n columns of a block: first zero where the mask says, then the nearest value
// scale (code - zero) with an integer code in [0, max_code].
struct BlockRule {
  at::Tensor mask;  // [out, n] bool; undefined: none
  // In each `period` consecutive columns of a row the `zeros` of least score w^2 / U_jj^2 become
  // zero, chosen when the first of them is reached; the first column among equals. 0: none.
  int64_t zeros = 0, period = 0;
  at::Tensor scale, zero;  // [out, n] float32; undefined: values are kept
  int64_t max_code = 0;
};

// The rule of columns [begin, end) given the weights as they are when the block begins.
using BlockRuler = std::function<BlockRule(const at::Tensor& weight,  // [out, in]
                                           int64_t begin, int64_t end)>;

struct SolvedColumns {
  at::Tensor values;  // [out, in] float32
  at::Tensor codes;   // [out, in] uint8; undefined without scales
  double loss = 0;    // sum over all of (w - v)^2 / U_jj^2 / 2: the cost of second_order.h
};

// kRows: each row by itself, on the CPU alone; kColumns: all rows at once with LibTorch's
// operators, on any device. They differ by rounding. kAuto: rows on the CPU.
enum class SolverPath { kAuto, kRows, kColumns };

// `weight` is used up. The order of elimination is the order of the columns.
SolvedColumns SolveColumns(at::Tensor weight,         // [out, in] float32
                           const at::Tensor& factor,  // [in, in] float32: U
                           const BlockRuler& ruler, SolverPath path = SolverPath::kAuto);

}  // namespace attnlab
