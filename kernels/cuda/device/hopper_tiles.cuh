// What the sm_90a kernels share: tiles in shared memory, products of tiles.
#pragma once

#include "kernels/cuda/device/hopper.cuh"
#include "kernels/cuda/device/hopper_params.h"
#include "kernels/cuda/device/rows.cuh"
#include "kernels/cuda/device/work.cuh"

namespace attnlab::hopper {

inline constexpr int kDim = ATTNLAB_HEAD_DIM;
inline constexpr int kGroups = ATTNLAB_GROUPS;  // warpgroups that multiply, 64 rows each
inline constexpr int kStages = ATTNLAB_STAGES;
inline constexpr int kThreads = 128 * (kGroups + 1);
inline constexpr int kPanels = kDim / 64;

// A tile of kRows rows: panels of 64 elements, rows of 128 bytes, swizzled by the copy engine.
template <int kRows>
inline constexpr int kPanelBytes = kRows * 128;
template <int kRows>
inline constexpr int kTileBytes = kPanels* kPanelBytes<kRows>;

// The copying warp's lane that gives the orders.
__device__ __forceinline__ bool Elected() { return threadIdx.x == 0; }

// Copies kRows rows from `row` on; counts their bytes on `barrier`, which expects them.
template <int kRows>
__device__ __forceinline__ void LoadTile(char* to, const TensorMap& map, uint64_t* barrier, int row,
                                         int head, int batch) {
#pragma unroll
  for (int p = 0; p < kPanels; ++p) {
    Load(to + p * kPanelBytes<kRows>, map, barrier, 64 * p, row, head, batch);
  }
}

// The other way; kRows rows, clipped to the tensor.
template <int kRows>
__device__ __forceinline__ void StoreTile(const TensorMap& map, const char* from, int row, int head,
                                          int batch) {
#pragma unroll
  for (int p = 0; p < kPanels; ++p) {
    Store(map, from + p * kPanelBytes<kRows>, 64 * p, row, head, batch);
  }
}

// c = a b^T over the head dim: 64 rows at `a` in a tile of kRowsA, all kRowsB rows of tile `b`.
template <int kRowsA, int kRowsB>
__device__ __forceinline__ void MultiplyRows(float (&c)[kRowsB / 2], const char* a, const char* b) {
  const uint64_t left = Descriptor(a, kPanelBytes<kRowsA>);
  const uint64_t right = Descriptor(b, kPanelBytes<kRowsB>);
#pragma unroll
  for (int k = 0; k < kDim / 16; ++k) {
    const int panel = k / 4, step = k % 4 * 2;
    Product<Element, kRowsB, false>::Run(c, left + panel * (kPanelBytes<kRowsA> >> 4) + step,
                                         right + panel * (kPanelBytes<kRowsB> >> 4) + step, k > 0);
  }
}

// c += w b: w [64, kRows] packed in registers, b a tile of kRows rows.
template <int kRows>
__device__ __forceinline__ void AddWeighted(float (&c)[kDim / 2], const uint32_t (&w)[kRows / 4],
                                            const char* b) {
  const uint64_t right = Descriptor(b, kPanelBytes<kRows>);
#pragma unroll
  for (int k = 0; k < kRows / 16; ++k) {
    Product<Element, kDim, true>::Run(c, w + 4 * k, right + k * (16 * 128 >> 4), 1);
  }
}

// The key tiles that the rows of a query tile see.
template <int kKeyTile>
__device__ __forceinline__ KeyTiles<kKeyTile> KeysOf(const Problem& problem, const Work& work,
                                                     int query_tile) {
  const Shape& shape = problem.shape;
  const int first = work.tile * query_tile;
  const int last = min(first + query_tile, static_cast<int>(shape.queries)) - 1;
  return KeyTiles<kKeyTile>(MaskOf(problem, work.batch), first, last, static_cast<int>(shape.keys));
}

// Which tiles of a walk are live: asked 32 at a time, a tile a lane, and kept.
template <class Ask>
struct LiveTiles {
  Ask ask;  // bool(tile)
  int chunk = -1;
  uint32_t live = 0;

  // The same in all lanes of the warp, which all call it.
  __device__ __forceinline__ bool operator()(int tile) {
    if (tile / 32 != chunk) {
      chunk = tile / 32;
      live = __ballot_sync(~0u, ask(32 * chunk + static_cast<int>(threadIdx.x % 32)));
    }
    return (live >> (tile % 32) & 1) != 0;
  }
};
template <class Ask>
LiveTiles(Ask) -> LiveTiles<Ask>;

// A warpgroup's accumulators: a thread holds columns 8 i + 2 (lane % 4) and the next one of rows
// lane / 4 and lane / 4 + 8 of its warp's 16. body(r, column, i) for each.
template <int kColumns, class Body>
__device__ __forceinline__ void ForEachHeld(const Body& body) {
#pragma unroll
  for (int i = 0; i < kColumns / 2; ++i) body(i / 2 % 2, i / 4 * 8 + i % 2, i);
}

// Writes this thread's part of 64 rows of head dim numbers times factor[r]; `to[r]` null: not at
// all.
__device__ __forceinline__ void StoreRows(const float (&c)[kDim / 2], Element* const (&to)[2],
                                          const float (&factor)[2]) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    if (to[r] == nullptr) continue;
#pragma unroll
    for (int i = 0; i < kDim / 8; ++i) {
      *reinterpret_cast<uint32_t*>(to[r] + 8 * i) =
          Pack<Element>(c[4 * i + 2 * r] * factor[r], c[4 * i + 2 * r + 1] * factor[r]);
    }
  }
}

// The dynamic shared memory as T, on a boundary of 1024 bytes.
template <class T>
__device__ __forceinline__ T& SharedAs(char* raw) {
  return *reinterpret_cast<T*>(raw + ((1024 - (SharedAddress(raw) & 1023)) & 1023));
}

// Splits the block into the warpgroup that copies, by warps, and those that multiply, and their
// registers; kBusy: the copying warpgroup does more than that.
template <bool kBusy = false, class Produce, class Consume>
__device__ __forceinline__ void SplitRoles(const Produce& produce, const Consume& consume) {
  if (threadIdx.x < 128) {
    GiveRegisters<kGroups == 2 ? (kBusy ? 40 : 24) : 32>();
    produce(__shfl_sync(~0u, static_cast<int>(threadIdx.x) / 32, 0));
  } else {
    TakeRegisters<kGroups == 2 ? (kBusy ? 232 : 240) : 160>();
    // The same in all threads of a warp, and known to be.
    consume(__shfl_sync(~0u, static_cast<int>(threadIdx.x) / 128 - 1, 0));
  }
}

// A ring's barriers: a stage is full when its copies have come, and empty when `warps` warps say
// so.
template <int kCount>
__device__ __forceinline__ void InitRing(uint64_t (&full)[kCount], uint64_t (&empty)[kCount],
                                         int warps) {
  for (int i = 0; i < kCount; ++i) {
    InitBarrier(&full[i], 1);
    InitBarrier(&empty[i], warps);
  }
}

// Turns of the warpgroups at the tensor cores; the last group starts by passing to the first.
__device__ __forceinline__ void TakeTurn(int group) { SyncNamed(1 + group, 256); }
__device__ __forceinline__ void PassTurn(int group) { ArriveNamed(1 + (group + 1) % kGroups, 256); }

}  // namespace attnlab::hopper
