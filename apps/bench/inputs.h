// What attention is timed on: random numbers, or numbers whose scores are negative on a known share
// of the tiles, so that a kernel that skips exactly has exactly that to skip.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/attention.h"

namespace attnlab {

struct Inputs {
  at::Tensor q;  // [B, H, T, D], in memory [B, T, H, D], as a projection leaves it; so are all
  at::Tensor k;  // [B, Hkv, S, D]
  at::Tensor v;  // [B, Hkv, S, Dv]
  at::Tensor out_grad;  // [B, H, T, Dv]
  std::string name;     // "random", "dead 0.5"
};

// Without values.
Inputs EmptyInputs(const Shape& shape, at::TensorOptions options);

// Normal numbers, the same in every run. `rounding` is the dtype whose numbers they are, whatever
// `options` say: bfloat16 values are exact in any wider type.
Inputs RandomInputs(const Shape& shape, at::TensorOptions options, at::ScalarType rounding);

inline constexpr int64_t kDeadRows = 64;   // queries of a group
inline constexpr int64_t kDeadKeys = 128;  // keys of a tile

// Which tiles are dead: [heads, classes, tiles], round(share * tiles) of each row, drawn by `seed`.
std::vector<uint8_t> DeadTiles(int64_t heads, int64_t classes, int64_t tiles, double share,
                               uint64_t seed);

// Classes of query groups that a head dim can tell apart: the first dims of q are 1 in that of the
// class and 0 elsewhere.
int64_t DeadClasses(int64_t head_dim);

// Group i of 64 queries has class i % DeadClasses, and a tile of 128 keys has -2 n in the dims of
// the classes for which DeadTiles kills it, 0 in those of others; the other n = D - DeadClasses
// dims of both hold numbers in [0, 1). So q . k is at most -n in a dead tile and at least 0
// elsewhere. Values and gradients are normal.
Inputs DeadInputs(const Shape& shape, at::TensorOptions options, double share);

}  // namespace attnlab
