// What both backward kernels of sm_90a share.
#pragma once

#include "kernels/cuda/device/gradient.cuh"
#include "kernels/cuda/device/hopper_tiles.cuh"

namespace attnlab::hopper {

// Whether queries of 64-group g have a weight on keys of 128-tile t, as the forward left it.
struct LiveBits {
  const uint32_t* rows;  // of the head, or null
  int words;
  int groups;
  int tiles;

  __device__ __forceinline__ LiveBits(const BackwardArgs& args, int batch, int head)
      : words(static_cast<int>(LiveWords(args.shape))),
        groups(static_cast<int>(args.shape.queries + 63) / 64),
        tiles(static_cast<int>(args.shape.keys + 127) / 128) {
    rows = args.live_tiles == nullptr
               ? nullptr
               : args.live_tiles +
                     (static_cast<int64_t>(batch) * args.shape.heads + head) * groups * words;
  }
  __device__ __forceinline__ bool Any(int first_group, int count, int tile) const {
    if (rows == nullptr) return true;
    uint32_t bits = 0;
    for (int g = first_group; tile < tiles && g < min(first_group + count, groups); ++g) {
      bits |= rows[g * words + tile / 32] >> (tile % 32) & 1;
    }
    return bits != 0;
  }
};

// A warpgroup that multiplies: its place in the block, where it is in the ring of stages, the mask
// of its sequence.
template <class Storage>
struct Multiplier {
  const BackwardParams& params;
  Storage& storage;
  const Variant variant;
  const int group;
  const int lane = threadIdx.x % 32;
  const int warp_row = threadIdx.x / 32 % 4 * 16 + lane / 4;
  RingPlace<kStages> place;

  Mask mask;
  int queries, keys;

  __device__ Multiplier(const BackwardParams& params, Storage& storage, int group)
      : params(params),
        storage(storage),
        variant(WithConstants<Variant>(params.args.constants)),
        group(group),
        queries(static_cast<int>(params.args.shape.queries)),
        keys(static_cast<int>(params.args.shape.keys)) {}
};

}  // namespace attnlab::hopper
