// Arguments of the decode kernels, filled by kernels/cuda/decode.cc.
#pragma once

#include "kernels/attention.h"

namespace attnlab::decode {

// What a range of keys leaves of a query row, beside its sums.
struct alignas(8) RangeState {
  float shift;
  float mass;
};

struct DecodeParams {
  ForwardArgs args;
  int rows;            // query rows of a key head: queries of all its query heads
  int row_tiles;       // of them
  int ranges;          // of a sequence's keys
  RangeState* states;  // [batch, kv_heads, rows, ranges]
  float* sums;         // [batch, kv_heads, rows, ranges, head_dim]
};

inline constexpr int kTile = 16;  // keys that a warp takes at a time
inline constexpr int kMostRanges = 128;
inline constexpr int kMergeThreads = 256;  // of a block of DecodeMerge

// Shared memory of a block: tiles of keys and values of each warp, what it knows of its rows, and
// weights that wait for their values if values of weight 0 are not read.
constexpr int SharedBytes(int dim, int warps, int stages, int rows, bool skip) {
  const int columns = (rows + 7) / 8, held = rows == 1 ? 1 : 2;
  const int tiles = warps * stages * 2 * kTile * dim * 2;
  const int states = rows * 32 + 2 * warps * rows * 4;
  const int pending = skip ? warps * stages * 32 * columns * (4 + held) * 4 : 0;
  return (tiles + states + pending + 127) / 128 * 128;
}

}  // namespace attnlab::decode
