// The order of the backward on sm_90a (hopper_backward.cuh): which blocks of keys and which query
// tiles a block of threads takes, and the turns of blocks of keys at the gradient of a query tile.
#pragma once

#include "kernels/cuda/device/hopper_gradient.cuh"

namespace attnlab::hopper {

inline constexpr int kQueryTile = ATTNLAB_TILE;
inline constexpr int kKeyTile = 64 * kGroups;
inline constexpr bool kLeavesOut = kSkip && Variant::kTraits.massless;  // tiles without weights

// The blocks of 128 keys that one block of threads takes up, one after the other. A head's blocks
// go to blocks of threads in a row, so that those that wait for each other run at the same time: in
// pairs, the last with the first, which under a causal mask are equally long, if all pairs of a
// head fit on the device; else from the last to the first.
struct KeyBlocks {
  const Schedule& schedule;
  int index = blockIdx.x;
  bool second = false;

  __device__ __forceinline__ explicit KeyBlocks(const Schedule& schedule) : schedule(schedule) {}
  __device__ __forceinline__ bool Done() const { return index >= schedule.count; }
  __device__ __forceinline__ Work Get() const {
    const unsigned head = static_cast<unsigned>(index) / schedule.per_section;
    const int place = static_cast<int>(index - head * schedule.per_section);
    const int batch = static_cast<int>(head / schedule.heads);
    return {second ? place : static_cast<int>(schedule.tiles) - 1 - place,
            static_cast<int>(head - batch * schedule.heads), batch};
  }
  __device__ __forceinline__ void Next() {
    const int place = static_cast<int>(static_cast<unsigned>(index) % schedule.per_section);
    second = !second && IsSecond(schedule, place);
    if (!second) index += gridDim.x;
  }
  static __device__ __forceinline__ bool ArePaired(const Schedule& schedule) {
    return schedule.per_section < schedule.tiles;
  }
  // Whether block `tile` is the second of its pair.
  static __device__ __forceinline__ bool IsSecond(const Schedule& schedule, int tile) {
    return ArePaired(schedule) && 2 * tile + 1 < static_cast<int>(schedule.tiles);
  }
};

__device__ __forceinline__ QueryTiles<kQueryTile> QueriesOf(const BackwardParams& params,
                                                            const Work& work) {
  const Shape& shape = params.args.shape;
  const int first = work.tile * kKeyTile;
  const int last = min(first + kKeyTile, static_cast<int>(shape.keys)) - 1;
  return QueryTiles<kQueryTile>(MaskOf(params.args, work.batch), first, last,
                                static_cast<int>(shape.queries));
}

// The i'th query tile that a block of keys takes: the first of a pair from the last tile to the
// first one.
__device__ __forceinline__ int QueryTileAt(const BackwardParams& params, const Work& work,
                                           const QueryTiles<kQueryTile>& queries, int i) {
  const Schedule& schedule = params.schedule;
  const bool back = KeyBlocks::ArePaired(schedule) && !KeyBlocks::IsSecond(schedule, work.tile);
  return back ? queries.end - 1 - i : queries.begin + i;
}

// The i'th query head that a block of keys takes, of those that share its head. Pairs begin with
// different ones.
__device__ __forceinline__ int HeadAt(const BackwardParams& params, const Work& work, int i) {
  const int sharing = static_cast<int>(params.args.shape.heads / params.args.shape.kv_heads);
  if (sharing == 1 || !KeyBlocks::ArePaired(params.schedule)) return work.head * sharing + i;
  const int place = min(work.tile, static_cast<int>(params.schedule.tiles) - 1 - work.tile);
  return work.head * sharing + (place + i) % sharing;
}

// The query tiles of `head` that have a weight on the block's keys.
__device__ __forceinline__ auto LiveQueries(const BackwardParams& params, const Work& work,
                                            int head) {
  static_assert(kKeyTile == 128);
  const LiveBits bits(params.args, work.batch, head);
  const int keys = work.tile;
  return LiveTiles{[=](int tile) {
    constexpr int kPerTile = kQueryTile / 64;
    return bits.Any(tile * kPerTile, kPerTile, keys);
  }};
}

__device__ __forceinline__ bool IsLive(const BackwardParams& params, const Work& work, int head,
                                       int tile) {
  constexpr int kPerTile = kQueryTile / 64;
  return LiveBits(params.args, work.batch, head).Any(tile * kPerTile, kPerTile, work.tile);
}

// Whether turns are places in one list for all query tiles of a head.
__device__ __forceinline__ bool AreListed(const BackwardParams& params) {
  return params.args.shape.heads == params.args.shape.kv_heads ||
         !KeyBlocks::ArePaired(params.schedule);
}

// The turn of a block of keys at a query tile of `head`; the lower come first.
//
// Where each key head has one query head, turns are places in a list: first blocks of pairs before
// second ones, among either the inner pairs before the outer ones; unpaired blocks from the last
// keys to the first. Under a causal mask all first blocks reach a tile at the same time, and so do
// all second ones; a pair that has waited once for those inside it is late by as much from then on
// and does not wait again. Where query heads share, blocks of pairs come in the order in which they
// would reach the tile if all pairs started together and none waited.
__device__ __forceinline__ int TurnOf(const BackwardParams& params, const Work& work, int head,
                                      int tile) {
  const Schedule& schedule = params.schedule;
  const int tiles = static_cast<int>(schedule.tiles), other = tiles - 1 - work.tile;
  const bool first = KeyBlocks::ArePaired(schedule) && !KeyBlocks::IsSecond(schedule, work.tile);
  if (AreListed(params)) return first ? work.tile - tiles / 2 : other;
  constexpr int kMostPairs = 1024;
  const int place = first ? other : work.tile;
  const int sharing = static_cast<int>(params.args.shape.heads / params.args.shape.kv_heads);
  const auto queries = QueriesOf(params, work);
  const int pass = (head - work.head * sharing + sharing - place % sharing) % sharing;
  int before = pass * (queries.end - queries.begin);
  if (first) {
    before += queries.end - 1 - tile;
  } else {
    const auto partner = QueriesOf(params, {other, work.head, work.batch});
    before += sharing * (partner.end - partner.begin) + tile - queries.begin;
  }
  return before * kMostPairs + place;
}

// The block of keys in a place of the list.
__device__ __forceinline__ int ListedBlock(const Schedule& schedule, int place) {
  const int tiles = static_cast<int>(schedule.tiles), half = tiles / 2;
  const bool first = KeyBlocks::ArePaired(schedule) && place < tiles - half;
  return first ? half + place : tiles - 1 - place;
}

__device__ __forceinline__ bool AddsTo(const BackwardParams& params, const Work& work, int head,
                                       int tile) {
  const auto queries = QueriesOf(params, work);
  if (tile < queries.begin || tile >= queries.end) return false;
  return !kLeavesOut || IsLive(params, work, head, tile);
}

// The turn before `turn` at a query tile of `head`, or -1. All lanes of a warp call it.
__device__ __forceinline__ int TurnBefore(const BackwardParams& params, const Work& work, int head,
                                          int tile, int turn) {
  const int lane = threadIdx.x % 32, tiles = static_cast<int>(params.schedule.tiles);
  if (AreListed(params)) {
    for (int first = turn - 1; first >= 0; first -= 32) {
      const int place = first - lane;
      const bool adds =
          place >= 0 &&
          AddsTo(params, {ListedBlock(params.schedule, place), work.head, work.batch}, head, tile);
      const uint32_t found = __ballot_sync(~0u, adds);
      if (found != 0) return first - (__ffs(static_cast<int>(found)) - 1);
    }
    return -1;
  }
  int before = -1;
  for (int first = 0; first < tiles; first += 32) {
    const Work other = {first + lane, work.head, work.batch};
    const bool adds = other.tile < tiles && AddsTo(params, other, head, tile);
    const int its = adds ? TurnOf(params, other, head, tile) : -1;
    before = max(before, __reduce_max_sync(~0u, its < turn ? its : -1));
  }
  return before;
}

}  // namespace attnlab::hopper
