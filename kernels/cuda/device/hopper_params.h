// Arguments of the sm_90a kernels, filled by kernels/cuda/hopper.cc. Whoever includes this has
// defined TensorMap, 128 bytes.
#pragma once

#include "kernels/attention.h"

namespace attnlab::hopper {

// The list of work of a launch: tiles of all heads.
struct Schedule {
  unsigned tiles;        // a head
  unsigned heads;        // of a sequence
  unsigned all;          // heads of all sequences
  unsigned section;      // heads whose operands fit into the L2 cache together
  unsigned per_section;  // section * tiles
  int count;             // all * tiles
};

// How large a score of a group of 64 queries can be: reach * |k| + offset + slope * key.
struct QueryBound {
  float reach;
  float offset;
  float slope;
};

struct ForwardParams {
  TensorMap q, k, v;
  ForwardArgs args;
  Schedule schedule;
  // For variants whose tiles of negative scores need nothing and whose scores have an offset.
  QueryBound* query_bounds;  // [batch, heads, groups of 64 queries]
  float* key_bounds;         // [batch, kv heads, tiles of 128 keys]: the largest |k|
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
  TensorMap q, k, v, out_grad;
  BackwardArgs args;
  Schedule schedule;
  RowStatistic* statistics;  // [batch, heads, padded queries]
  RowMap* maps;              // likewise, if the variant maps scores
  double* learned;           // [kMaxLearned, heads, batch * query tiles]
  int padded;                // queries, up to a multiple of 128
  int query_tiles;
};

}  // namespace attnlab::hopper
