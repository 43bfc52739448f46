// What the kernels for sm_80 and later share: tiles in shared memory and products of tiles.
//
// A block holds rows of its own (queries, or keys), kWarpRows for each warp, and tiles of kTile
// rows pass by, the next one on its way while one is worked on. Macros beside those of rows.cuh:
// ATTNLAB_HEAD_DIM, ATTNLAB_WARPS, ATTNLAB_BLOCKS (of 16 rows, a warp), ATTNLAB_TILE, ATTNLAB_HELD
// (1: the warp's rows stay in registers), ATTNLAB_RESIDENT.
#pragma once

#include "kernels/cuda/device/ampere.cuh"
#include "kernels/cuda/device/work.cuh"

namespace attnlab::mma {

using namespace ampere;

inline constexpr int kDim = ATTNLAB_HEAD_DIM;
inline constexpr int kWarps = ATTNLAB_WARPS;
inline constexpr int kThreads = 32 * kWarps;
inline constexpr int kResident = ATTNLAB_RESIDENT;  // blocks on a multiprocessor, if they fit
inline constexpr int kBlocks = ATTNLAB_BLOCKS;      // of 16 rows that a warp holds
inline constexpr int kWarpRows = 16 * kBlocks;
inline constexpr int kHeldRows = 2 * kBlocks;  // of which a thread holds parts
inline constexpr int kOwnTile = kWarps * kWarpRows;
inline constexpr int kTile = ATTNLAB_TILE;
inline constexpr bool kHeld = ATTNLAB_HELD != 0;
inline constexpr int kRowBytes = 2 * kDim;

// A tile's rows stand one after the other, each in chunks of 16 bytes: chunk c of row r at place
// c ^ (r % 8), so that the rows of a matrix lie in different banks. Boundary: 1024 bytes.
template <int kRows>
struct alignas(1024) Tile {
  char bytes[kRows * kRowBytes];
};

// The rows of one head of a tensor, on their way to shared memory.
struct Source {
  const Element* head;
  int64_t stride;
  int rows;

  __device__ __forceinline__ Source(const Operand& operand, int batch, int head, int64_t rows)
      : head(RowAt(operand, batch, head, 0)),
        stride(operand.row_stride),
        rows(static_cast<int>(rows)) {}

  // Starts the copy of rows from `first` on; zeros past the last one.
  template <int kRows>
  __device__ __forceinline__ void Copy(Tile<kRows>& tile, int first) const {
    constexpr int kChunks = kDim / 8;
    constexpr int kStep = kThreads / kChunks;
    static_assert(kRows % kStep == 0);
    const int chunk = threadIdx.x % kChunks;
    const int row = threadIdx.x / kChunks;
    const uint32_t to = SharedAddress(&tile);
    const Element* from = head + (first + row) * stride + 8 * chunk;
#pragma unroll
    for (int i = 0; i < kRows; i += kStep) {
      const int r = row + i;
      CopyAsync(to + r * kRowBytes + ((chunk ^ (r & 7)) << 4), from, first + r < rows);
      from += kStep * stride;
    }
  }
};

// This lane's address of the fragment of rows `row` to row + 15 and elements 0 to 15, its matrices
// in the order that a left factor takes, or a right one from the rows of its terms
// (LoadTransposed). Fragment k lies at address ^ (32 k), row 16 n at address + 16 n kRowBytes.
template <int kRows>
__device__ __forceinline__ uint32_t LeftAddress(const Tile<kRows>& tile, int row) {
  const int lane = threadIdx.x % 32;
  return SharedAddress(&tile) + (row + lane % 16) * kRowBytes + (((lane / 16) ^ (lane & 7)) << 4);
}
// Likewise, in the order that a right factor takes from the rows of its columns: registers 0 and 1
// are columns 0 to 7, neighbours because a product takes them as a pair.
template <int kRows>
__device__ __forceinline__ uint32_t RightAddress(const Tile<kRows>& tile) {
  const int lane = threadIdx.x % 32;
  return SharedAddress(&tile) + (lane / 16 * 8 + lane % 8) * kRowBytes +
         (((lane / 8 % 2) ^ (lane & 7)) << 4);
}

// A warp's rows as the left factor of products over the head dim.
struct Rows {
  uint32_t address;
  uint32_t held[kHeld ? kDim / 16 : 1][kBlocks][4];

  // After the tile has arrived; `row` is the warp's first.
  template <int kRows>
  __device__ __forceinline__ void Load(const Tile<kRows>& tile, int row) {
    address = LeftAddress(tile, row);
    if constexpr (kHeld) {
#pragma unroll
      for (int k = 0; k < kDim / 16; ++k) Fetch(k, held[k]);
    }
  }
  __device__ __forceinline__ void Fragment(int k, uint32_t (&fragment)[kBlocks][4]) const {
    if constexpr (kHeld) {
#pragma unroll
      for (int i = 0; i < 4 * kBlocks; ++i) fragment[i / 4][i % 4] = held[k][i / 4][i % 4];
    } else {
      Fetch(k, fragment);
    }
  }

 private:
  __device__ __forceinline__ void Fetch(int k, uint32_t (&fragment)[kBlocks][4]) const {
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
      LoadMatrices(fragment[b], (address ^ (32 * k)) + 16 * b * kRowBytes);
    }
  }
};

// A warp's accumulators: columns 8 n + 2 (lane % 4) and the next one of a thread's row r are
// c[r / 2][n][r % 2 * 2] and its neighbour.
template <int kColumns>
using Accumulators = float[kBlocks][kColumns / 8][4];

// Accumulators as the left factor of a product over their columns.
template <int kColumns>
using Packed = uint32_t[kBlocks][kColumns / 16][4];

template <int kColumns>
__device__ __forceinline__ void Clear(float (&c)[kBlocks][kColumns][4]) {
#pragma unroll
  for (int i = 0; i < kBlocks * kColumns * 4; ++i) c[i / 4 / kColumns][i / 4 % kColumns][i % 4] = 0;
}

// c = a b^T over the head dim; b is a tile of kTile rows.
__device__ __forceinline__ void MultiplyRows(Accumulators<kTile>& c, const Rows& a,
                                             const Tile<kTile>& b) {
  Clear(c);
  const uint32_t address = RightAddress(b);
#pragma unroll
  for (int k = 0; k < kDim / 16; ++k) {
    uint32_t left[kBlocks][4];
    a.Fragment(k, left);
#pragma unroll
    for (int n = 0; n < kTile / 16; ++n) {
      uint32_t right[4];
      LoadMatrices(right, (address ^ (32 * k)) + 16 * n * kRowBytes);
#pragma unroll
      for (int i = 0; i < kBlocks; ++i) {
        MultiplyAdd<Element>(c[i][2 * n], left[i], {right[0], right[1]});
        MultiplyAdd<Element>(c[i][2 * n + 1], left[i], {right[2], right[3]});
      }
    }
  }
}

// c += w b over the rows of b.
__device__ __forceinline__ void AddWeighted(Accumulators<kDim>& c, const Packed<kTile>& w,
                                            const Tile<kTile>& b) {
  const uint32_t address = LeftAddress(b, 0);
#pragma unroll
  for (int k = 0; k < kTile / 16; ++k) {
#pragma unroll
    for (int n = 0; n < kDim / 16; ++n) {
      uint32_t right[4];
      LoadTransposed(right, (address ^ (32 * n)) + 16 * k * kRowBytes);
#pragma unroll
      for (int i = 0; i < kBlocks; ++i) {
        MultiplyAdd<Element>(c[i][2 * n], w[i][k], {right[0], right[1]});
        MultiplyAdd<Element>(c[i][2 * n + 1], w[i][k], {right[2], right[3]});
      }
    }
  }
}

// The row of the warp's that is a thread's row r.
__device__ __forceinline__ int HeldRow(int r) {
  return r / 2 * 16 + r % 2 * 8 + static_cast<int>(threadIdx.x) % 32 / 4;
}

__device__ __forceinline__ int WarpOf() {
  // The same in all threads of a warp, and known to be.
  return __shfl_sync(~0u, static_cast<int>(threadIdx.x) / 32, 0);
}

// Writes this thread's part of row r times `factor` to `row`, the start of that row.
__device__ __forceinline__ void StoreRow(const Accumulators<kDim>& c, int r, Element* row,
                                         float factor) {
  Element* to = row + threadIdx.x % 4 * 2;
#pragma unroll
  for (int n = 0; n < kDim / 8; ++n) {
    const float* pair = &c[r / 2][n][r % 2 * 2];
    *reinterpret_cast<uint32_t*>(to + 8 * n) = Pack<Element>(pair[0] * factor, pair[1] * factor);
  }
}

// A block's queries while the keys and values that they see pass by, tile after tile. copy() starts
// the copies of the block's own rows, begin() comes once they have arrived, absorb(tile, stage,
// partial) for each tile that some of the warp's queries from `own` on see.
template <class Storage, class Copy, class Begin, class Absorb>
__device__ __forceinline__ void PassKeys(const Problem& problem, const Mask& mask, const Work& work,
                                         int own, Storage& storage, const Copy& copy,
                                         const Begin& begin, const Absorb& absorb) {
  const int queries = static_cast<int>(problem.shape.queries);
  const int keys = static_cast<int>(problem.shape.keys);
  const int first = work.tile * kOwnTile;
  const KeyTiles<kTile> tiles(mask, first, min(first + kOwnTile, queries) - 1, keys);
  const int count = tiles.Count();
  if (count == 0) return;
  // Keys below own_end are seen by some row of this warp, below own_full by all.
  const int last = min(own + kWarpRows, queries) - 1;
  const int own_end = own < queries ? LimitsOf(mask, last, queries, keys).end : 0;
  const int own_full = LimitsOf(mask, own, queries, keys).end;
  const int kv_head = work.head / static_cast<int>(problem.shape.heads / problem.shape.kv_heads);
  const Source k(problem.k, work.batch, kv_head, keys);
  const Source v(problem.v, work.batch, kv_head, keys);
  const auto copy_tile = [&](int i) {
    k.Copy(storage.k[i & 1], tiles.Tile(i) * kTile);
    v.Copy(storage.v[i & 1], tiles.Tile(i) * kTile);
    CommitCopies();
  };
  copy();
  copy_tile(0);
#pragma unroll 1
  for (int i = 0; i < count; ++i) {
    // Tile i has arrived for all warps, and none works on tile i - 1 any more.
    WaitCopies<0>();
    __syncthreads();
    if (i == 0) begin();
    if (i + 1 < count) copy_tile(i + 1);
    const int tile = tiles.Tile(i);
    if (tile * kTile < own_end) absorb(tile, i & 1, tiles.Partial(tile, own_full));
  }
}

}  // namespace attnlab::mma
