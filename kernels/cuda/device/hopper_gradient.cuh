// What both backward kernels of sm_90a share.
#pragma once

#include "kernels/cuda/device/gradient.cuh"
#include "kernels/cuda/device/hopper_tiles.cuh"

namespace attnlab::hopper {

// Whether any warp of the group says so: flags of two tiles in turn.
struct Ballot {
  uint8_t says[2][kGroups][4];

  __device__ __forceinline__ bool Any(int turn, int group, bool mine) {
    mine = __any_sync(~0u, mine);
    if (threadIdx.x % 32 == 0) says[turn & 1][group][threadIdx.x / 32 % 4] = mine;
    SyncNamed(8 + group, 128);
    const uint32_t all = *reinterpret_cast<volatile uint32_t*>(says[turn & 1][group]);
    return __any_sync(~0u, all != 0);
  }
};

}  // namespace attnlab::hopper
