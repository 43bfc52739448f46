// Arguments of the sm_90a kernels, filled by kernels/cuda/hopper.cc.
#pragma once

#include "kernels/cuda/device/params.h"

namespace attnlab::hopper {

// What the copy engine knows of a tensor: a CUtensorMap, whose own alignment differs between
// releases of CUDA.
struct alignas(64) TensorMap {
  char opaque[128];
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
  int* taken;  // pieces of the schedule that blocks took beyond their first; 0 before
  // For variants whose tiles of negative scores need nothing and whose scores have an offset.
  QueryBound* query_bounds;  // [batch, heads, groups of 64 queries]
  float* key_bounds;         // [batch, kv heads, tiles of 128 keys]: the largest |k|
};

// In the backward, tiles take places in turn. Shared memory has room for a second one of dS^T,
// which saves the warpgroups a wait for each other, or of dQ, which gives turns more time: each
// pays at one head dim.
constexpr int SumPlaces(int64_t head_dim) { return head_dim == 128 ? 2 : 1; }
constexpr int ScorePlaces(int64_t head_dim) { return 3 - SumPlaces(head_dim); }

struct BackwardParams : attnlab::BackwardParams {
  TensorMap q, k, v, out_grad;
  TensorMap k_grad, v_grad;
};

}  // namespace attnlab::hopper
