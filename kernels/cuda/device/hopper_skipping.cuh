// Which key tiles the forward on sm_90a visits: not those in which no score can weigh anything. And
// its record of those in which none did (live_tiles), for the backward.
#pragma once

#include "kernels/cuda/device/hopper_tiles.cuh"

namespace attnlab::hopper {

inline constexpr int kKeyTile = ATTNLAB_TILE;
inline constexpr int kQueryTile = 64 * kGroups;

// A tile of negative scores needs nothing, and an offset of the scores can tell that it is one.
inline constexpr bool kBounded = kSkip && kMapped && Variant::kTraits.massless;

// The key tiles in which some score of the block's queries may not be negative.
__device__ __forceinline__ auto BoundedKeys(const ForwardParams& params, const Work& work) {
  const Shape& shape = params.args.shape;
  const int groups = static_cast<int>(shape.queries + 63) / 64;
  const int tiles = static_cast<int>(shape.keys + 127) / 128;
  const int kv_head = work.head / static_cast<int>(shape.heads / shape.kv_heads);
  const QueryBound* queries =
      params.query_bounds + (static_cast<int64_t>(work.batch) * shape.heads + work.head) * groups;
  const float* keys =
      params.key_bounds + (static_cast<int64_t>(work.batch) * shape.kv_heads + kv_head) * tiles;
  QueryBound bound = {0.0f, kNoFloor, kNoFloor};
  for (int g = work.tile * kGroups; kBounded && g < min((work.tile + 1) * kGroups, groups); ++g) {
    bound.reach = fmaxf(bound.reach, queries[g].reach);
    bound.offset = fmaxf(bound.offset, queries[g].offset);
    bound.slope = fmaxf(bound.slope, queries[g].slope);
  }
  // More than the rounding of norms, scores and positions.
  bound.reach *= 1.001f;
  return LiveTiles{[=](int tile) {
    if (!kBounded || tile >= tiles) return true;
    const int key = bound.slope > 0.0f ? tile * kKeyTile + kKeyTile - 1 : tile * kKeyTile;
    const float rise = bound.slope * key;
    const float top = bound.reach * keys[tile] + bound.offset + rise;
    return !(top < -1e-5f * (fabsf(bound.offset) + fabsf(rise)));
  }};
}

// Leaves the bits of live_tiles of a warpgroup's rows, and the counts; one thread writes.
struct LiveRow {
  uint32_t* row = nullptr;  // its words; null: not asked for, or another thread's work
  uint64_t* counts = nullptr;
  int word = 0;
  uint32_t bits = 0;
  unsigned seen = 0, used = 0;

  // `again`: the tile was counted already.
  __device__ __forceinline__ LiveRow(const ForwardArgs& args, const Work& work, int group,
                                     int tiles, int own_end, bool again) {
    const int place = work.tile * kGroups + group;
    const int groups = static_cast<int>(args.shape.queries + 63) / 64;
    if (!kSkip || threadIdx.x % 128 != 0 || place >= groups) return;
    if (!again) counts = args.tile_counts;
    seen = min(tiles, (own_end + kKeyTile - 1) / kKeyTile);
    if (args.live_tiles == nullptr) return;
    const int words = static_cast<int>(LiveWords(args.shape));
    row = args.live_tiles +
          ((static_cast<int64_t>(work.batch) * args.shape.heads + work.head) * groups + place) *
              words;
    for (int i = 0; i < words; ++i) row[i] = 0;
  }
  __device__ __forceinline__ void Add(int tile, bool live) {
    if (!kSkip || !live) return;
    ++used;
    if (row == nullptr) return;
    if (tile / 32 != word) Flush();
    word = tile / 32;
    bits |= 1u << tile % 32;
  }
  __device__ __forceinline__ void Flush() {
    if (row != nullptr && bits != 0) row[word] |= bits;
    bits = 0;
  }
  __device__ __forceinline__ void Finish() {
    if (!kSkip) return;
    Flush();
    if (counts == nullptr) return;
    atomicAdd(reinterpret_cast<unsigned long long*>(counts), seen);
    atomicAdd(reinterpret_cast<unsigned long long*>(counts) + 1, seen - min(used, seen));
  }
};

}  // namespace attnlab::hopper
