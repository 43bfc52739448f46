// Arguments of the tiled kernels that do not depend on a device's instructions; filled by
// kernels/cuda/tiled.cc.
#pragma once

#include "kernels/attention.h"

namespace attnlab {

// The list of work of a launch: tiles of all heads.
struct Schedule {
  unsigned tiles;        // a head
  unsigned heads;        // of a sequence
  unsigned all;          // heads of all sequences
  unsigned section;      // heads whose operands fit into the L2 cache together
  unsigned per_section;  // section * tiles
  int count;             // all * tiles
};

// What the backward keeps of a query row.
struct alignas(16) RowStatistic {
  float shift;      // log2(e) (m + ln den), infinite for a row of weight 0; 0 without shift
  float exp_minus;  // 2^-shift
  float delta;      // dO . o
  float inverse;    // 1 / den, 0 for a row of weight 0; 1 with shift
};
struct RowMap {  // s = gain x + offset + slope key
  float gain;
  float offset;
};

struct BackwardParams {
  BackwardArgs args;
  Schedule schedule;
  int* taken;                // pieces of the schedule taken so far, beyond each block's first
  RowStatistic* statistics;  // [batch, heads, padded queries]
  RowMap* maps;              // likewise, if the variant maps scores
  double* learned;           // [kMaxLearned, heads, batch * query tiles]
  int padded;                // queries, up to a multiple of 128
  int query_tile;            // rows
  int query_tiles;           // a head
  // Where blocks of keys add to one gradient of queries, else null; by query tile of each head.
  float* query_sums;  // [query_tile, head dim], in an order of the kernel's own
  int* turns;         // 1 + the block of keys that added last, or 0
};

}  // namespace attnlab
