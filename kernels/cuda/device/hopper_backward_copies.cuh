// The warps of the backward on sm_90a (hopper_backward.cuh) that only copy: one brings query tiles,
// two add what the warpgroups leave of dQ to the sums in global memory. And the shared memory in
// which they meet the warpgroups.
#pragma once

#include "kernels/cuda/device/hopper_turns.cuh"

namespace attnlab::hopper {

inline constexpr bool kSumsQueries = !kLearns;
// Scores are weighed 64 queries at a time, while products of others run.
inline constexpr int kParts = kQueryTile / 64;
inline constexpr int kSums = kQueryTile * kDim;  // of a query tile's gradient
static_assert(kGroups == 2 && kSums == 2 * 64 * 64 && kStages == 2);
inline constexpr int kSumPlaces = SumPlaces(kDim);
inline constexpr int kScorePlaces = ScorePlaces(kDim);

struct alignas(1024) Storage {
  char k[kGroups][kTileBytes<64>];
  char v[kGroups][kTileBytes<64>];
  char q[kStages][kTileBytes<kQueryTile>];
  char out_grad[kStages][kTileBytes<kQueryTile>];
  // dS^T of the block's keys in panels of 64 queries, swizzled as the copy engine would.
  char score_grad[kScorePlaces][kQueryTile / 64][kPanelBytes<kKeyTile>];
  // A warpgroup's half of dQ, in the order in which threads hold it.
  float4 sums[kSumPlaces][kGroups][8][128];
  alignas(128) RowStatistic statistics[kStages][kQueryTile];
  alignas(128) RowMap maps[kStages][kMapped ? kQueryTile : 1];
  uint64_t keys_full[1], keys_empty[1];
  uint64_t full[kStages], empty[kStages];
  uint64_t sums_full[2][kGroups], sums_empty[kSumPlaces][kGroups];
};

// A tile of queries, of what belongs to its rows, and, if `used`, of dO.
__device__ __forceinline__ void LoadQueries(const BackwardParams& params, Storage& storage,
                                            int stage, int tile, int head, int batch, int64_t rows,
                                            bool used) {
  uint64_t* full = &storage.full[stage];
  constexpr int kStatisticBytes = kQueryTile * static_cast<int>(sizeof(RowStatistic));
  constexpr int kMapBytes = kMapped ? kQueryTile * static_cast<int>(sizeof(RowMap)) : 0;
  ExpectBytes(full, (used ? 2 : 1) * kTileBytes<kQueryTile> + kStatisticBytes + kMapBytes);
  const int row = tile * kQueryTile;
  LoadTile<kQueryTile>(storage.q[stage], params.q, full, row, head, batch);
  if (used) LoadTile<kQueryTile>(storage.out_grad[stage], params.out_grad, full, row, head, batch);
  LoadBytes(storage.statistics[stage], params.statistics + rows + row, kStatisticBytes, full);
  if (kMapped) LoadBytes(storage.maps[stage], params.maps + rows + row, kMapBytes, full);
}

__device__ void Produce(const BackwardParams& params, Storage& storage) {
  RingPlace<kStages> place;
  uint32_t keys_parity = 1;
  const int heads = static_cast<int>(params.args.shape.heads);
  const int sharing = heads / static_cast<int>(params.args.shape.kv_heads);
  for (KeyBlocks list(params.schedule); !list.Done(); list.Next()) {
    const Work work = list.Get();
    const auto queries = QueriesOf(params, work);
    Wait(storage.keys_empty, keys_parity);
    keys_parity ^= 1;
    if (Elected()) {
      ExpectBytes(storage.keys_full, 2 * kGroups * kTileBytes<64>);
      for (int group = 0; group < kGroups; ++group) {
        const int row = work.tile * kKeyTile + 64 * group;
        LoadTile<64>(storage.k[group], params.k, storage.keys_full, row, work.head, work.batch);
        LoadTile<64>(storage.v[group], params.v, storage.keys_full, row, work.head, work.batch);
      }
    }
    for (int pass = 0; pass < sharing; ++pass) {
      const int head = HeadAt(params, work, pass);
      const int64_t rows = (static_cast<int64_t>(work.batch) * heads + head) * params.padded;
      auto live = LiveQueries(params, work, head);
      for (int i = 0; i < queries.end - queries.begin; ++i) {
        const int tile = QueryTileAt(params, work, queries, i);
        const bool used = !kSkip || live(tile);
        if (kLeavesOut && !used) continue;
        Wait(&storage.empty[place.stage], place.parity ^ 1);
        if (Elected())
          LoadQueries(params, storage, place.stage, tile, head, work.batch, rows, used);
        place.Advance();
      }
    }
  }
}

// Adds the warpgroups' sums to those of the blocks before. A turn takes longer than a tile: two
// warps share the work, each takes every second tile, from its `first` on.
__device__ void AddSums(const BackwardParams& params, Storage& storage, int first) {
  const int from = first % kSumPlaces;
  uint32_t parity = 0;
  int count = 0;
  const int heads = static_cast<int>(params.args.shape.heads);
  const int sharing = heads / static_cast<int>(params.args.shape.kv_heads);
  for (KeyBlocks list(params.schedule); !list.Done(); list.Next()) {
    const Work work = list.Get();
    const auto queries = QueriesOf(params, work);
    for (int pass = 0; pass < sharing; ++pass) {
      const int head = HeadAt(params, work, pass);
      auto live = LiveQueries(params, work, head);
      for (int i = 0; i < queries.end - queries.begin; ++i) {
        const int tile = QueryTileAt(params, work, queries, i);
        if (kLeavesOut && !live(tile)) continue;
        if (count++ % 2 != first) continue;
        const int64_t place =
            (static_cast<int64_t>(work.batch) * heads + head) * params.query_tiles + tile;
        const int turn = TurnOf(params, work, head, tile);
        const int before = TurnBefore(params, work, head, tile, turn);
        if (threadIdx.x % 32 == 0) {
          int* turns = params.turns + place;
          if (before >= 0) AwaitTurn(turns, before + 1);
          for (int group = 0; group < kGroups; ++group)
            Wait(&storage.sums_full[first][group], parity);
          float* sums = params.query_sums + place * kSums;
          constexpr int kBytes = static_cast<int>(sizeof(storage.sums[0][0]));
          for (int group = 0; group < kGroups; ++group) {
            float* to = sums + group * (kSums / kGroups);
            if (before >= 0) {
              AddBytes(to, storage.sums[from][group], kBytes);
            } else {
              StoreBytes(to, storage.sums[from][group], kBytes);
            }
          }
          CommitStores();
          WaitStoresRead();
          for (int group = 0; group < kGroups; ++group) Arrive(&storage.sums_empty[from][group]);
          WaitStores();
          PassTurnOn(turns, turn + 1);
        }
        __syncwarp();
        parity ^= 1;
      }
    }
  }
}

}  // namespace attnlab::hopper
