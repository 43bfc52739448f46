// For variants whose heads learn something: the backward's gradients of queries and of what heads
// learn, on sm_90a. A warpgroup holds 64 queries and their gradient; key tiles pass by:
//
//     S = Q K^T    dP = dO V^T    dQ += dS K
//
// Scores are computed a second time (hopper_backward.cuh does it first), since the gradient of what
// a head learns needs sums over whole rows of scores (learned.cuh).
#include "kernels/cuda/device/hopper_gradient.cuh"
#include "kernels/cuda/device/hopper_orders.cuh"
#include "kernels/cuda/device/learned.cuh"

namespace attnlab::hopper {

inline constexpr int kKeyTile = ATTNLAB_TILE;
inline constexpr int kQueryTile = 64 * kGroups;

struct alignas(1024) Storage {
  char q[kGroups][kTileBytes<64>];
  char out_grad[kGroups][kTileBytes<64>];
  char k[kStages][kTileBytes<kKeyTile>];
  char v[kStages][kTileBytes<kKeyTile>];
  uint64_t query_full[kGroups], query_empty[kGroups];
  uint64_t full[kStages], empty[kStages];
  WorkOrders orders;
  double learned[kGroups][4][kMaxLearned];
};

// The key tiles on which the block's warpgroups [first, first + count) have a weight.
__device__ __forceinline__ auto LiveKeys(const BackwardParams& params, const Work& work, int first,
                                         int count) {
  const LiveBits bits(params.args, work.batch, work.head);
  const int group = work.tile * kGroups + first;
  return LiveTiles{[=](int tile) { return bits.Any(group, count, tile * kKeyTile / 128); }};
}

__device__ void Produce(const BackwardParams& params, Storage& storage) {
  RingPlace<kStages> place;
  uint32_t query_parity = 1;
  const int sharing = static_cast<int>(params.args.shape.heads / params.args.shape.kv_heads);
  OrderGiver<false> orders{storage.orders};
  orders.ForEach(params.schedule.count, params.taken, [&](int index) {
    const Work work(params.schedule, index, kCausal);
    const auto keys = KeysOf<kKeyTile>(params.args, work, kQueryTile);
    auto live = LiveKeys(params, work, 0, kGroups);
    for (int group = 0; group < kGroups; ++group) {
      uint64_t* full = &storage.query_full[group];
      Wait(&storage.query_empty[group], query_parity);
      const int row = work.tile * kQueryTile + 64 * group;
      if (!Elected()) continue;
      ExpectBytes(full, 2 * kTileBytes<64>);
      LoadTile<64>(storage.q[group], params.q, full, row, work.head, work.batch);
      LoadTile<64>(storage.out_grad[group], params.out_grad, full, row, work.head, work.batch);
    }
    query_parity ^= 1;
    for (int i = 0; i < keys.Count(); ++i) {
      const bool used = !kSkip || live(keys.Tile(i));
      if (kSkip && Variant::kTraits.massless && !used) continue;
      uint64_t* full = &storage.full[place.stage];
      Wait(&storage.empty[place.stage], place.parity ^ 1);
      if (Elected()) {
        const int row = keys.Tile(i) * kKeyTile, head = work.head / sharing;
        ExpectBytes(full, (used ? 2 : 1) * kTileBytes<kKeyTile>);
        LoadTile<kKeyTile>(storage.k[place.stage], params.k, full, row, head, work.batch);
        if (used) LoadTile<kKeyTile>(storage.v[place.stage], params.v, full, row, head, work.batch);
      }
      place.Advance();
    }
  });
}

struct Consumer : Multiplier<Storage> {
  using Multiplier<Storage>::Multiplier;

  uint32_t query_parity = 0;

  RowLimits limits[2];
  ScoreMap map[2];
  RowStatistic statistic[2];
  LearnedSums<float> sums[2];
  float q_grad[kDim / 2];
  float s[kKeyTile / 2];
  float dp[kKeyTile / 2];
  uint32_t grads[kKeyTile / 4];

  __device__ __forceinline__ int Query(const Work& work, int r) const {
    return work.tile * kQueryTile + group * 64 + warp_row + 8 * r;
  }

  __device__ __forceinline__ void Begin(const Work& work) {
    mask = MaskOf(params.args, work.batch);
    const int64_t head = static_cast<int64_t>(work.batch) * params.args.shape.heads + work.head;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int query = min(Query(work, r), queries - 1);
      limits[r] = LimitsOf(mask, query, queries, keys);
      map[r] = ScoreMapOf(params.args, variant, RowOf(params.args, mask, work.head, query));
      statistic[r] = params.statistics[head * params.padded + query];
      sums[r] = {};
    }
#pragma unroll
    for (int i = 0; i < kDim / 2; ++i) q_grad[i] = 0.0f;
  }

  __device__ __forceinline__ float MappedScore(int r, int key, float x) const {
    return kMapped ? fmaf(x, map[r].gain, fmaf(map[r].slope, key, map[r].offset)) : x;
  }

  template <bool kPartial, bool kUsed>
  __device__ __forceinline__ void Weigh(int tile) {
    const int column = tile * kKeyTile + lane % 4 * 2;
    const RowLimits limit[2] = {limits[0].From(column), limits[1].From(column)};
    float pair = 0.0f;
    ForEachHeld<kKeyTile>([&](int r, int c, int i) {
      const float x = MappedScore(r, column + c, s[i]);
      const float out_dot = kUsed ? dp[i] : 0.0f;
      ScoreGradient gradient = GradientOf(variant, x, out_dot, map[r].gain, statistic[r]);
      if (kPartial && !limit[r].Sees(c, column, mask.key_documents)) gradient = {};
      if (kLearns) {
        sums[r].Add(gradient, s[i], out_dot, column + c);
      }
      if (i % 2 == 0) {
        pair = gradient.score;
      } else {
        grads[i / 2] = Pack<Element>(pair, gradient.score);
      }
    });
  }

  __device__ __forceinline__ void IssueScores() {
    MultiplyRows<64, kKeyTile>(s, storage.q[group], storage.k[place.stage]);
  }
  __device__ __forceinline__ void IssueGradients() {
    MultiplyRows<64, kKeyTile>(dp, storage.out_grad[group], storage.v[place.stage]);
  }

  // The stage's tile. kUsed: some weight of it may not be 0; if not, its values may not be there.
  template <bool kUsed>
  __device__ __forceinline__ void RunTile(const KeyTiles<kKeyTile>& tiles, int tile, int own_full) {
    FenceRegisters(s);
    FenceRegisters(dp);
    FenceRegisters(q_grad);
    FenceProducts();
    IssueScores();
    if (kUsed) IssueGradients();
    CommitProducts();
    WaitProducts<0>();
    FenceRegisters(s);
    FenceRegisters(dp);
    if (tiles.Partial(tile, own_full)) {
      Weigh<true, kUsed>(tile);
    } else {
      Weigh<false, kUsed>(tile);
    }
    FenceRegisters(grads);
    FenceRegisters(q_grad);
    FenceProducts();
    AddWeighted<kKeyTile>(q_grad, grads, storage.k[place.stage]);
    CommitProducts();
    WaitProducts<0>();
    FenceRegisters(q_grad);
  }

  __device__ __forceinline__ void Absorb(const Work& work) {
    const auto tiles = KeysOf<kKeyTile>(params.args, work, kQueryTile);
    const int own = work.tile * kQueryTile + group * 64;
    const int own_end = LimitsOf(mask, min(own + 63, queries - 1), queries, keys).end;
    const int own_full = LimitsOf(mask, own, queries, keys).end;
    auto block_live = LiveKeys(params, work, 0, kGroups);
    auto own_live = LiveKeys(params, work, group, 1);
    Wait(&storage.query_full[group], query_parity);
    query_parity ^= 1;
#pragma unroll 1
    for (int i = 0; i < tiles.Count(); ++i) {
      const int tile = tiles.Tile(i);
      if (kSkip && Variant::kTraits.massless && !block_live(tile)) continue;
      const bool used = !kSkip || own_live(tile);
      Wait(&storage.full[place.stage], place.parity);
      if (tile * kKeyTile < own_end) {
        if (used) {
          RunTile<true>(tiles, tile, own_full);
        } else if constexpr (!Variant::kTraits.massless) {
          RunTile<false>(tiles, tile, own_full);
        }
      }
      if (lane == 0) Arrive(&storage.empty[place.stage]);
      place.Advance();
    }
    if (lane == 0) Arrive(&storage.query_empty[group]);
  }

  // Sums over the tile's rows in one order: threads of a row, rows of a warp, warps of the block.
  __device__ __forceinline__ void StoreLearned(const Work& work) {
    for (LearnedSums<float>& row : sums) row.AddThreads();
    for (int p = 0; p < static_cast<int>(Variant::kLearned.size()); ++p) {
      double grad = 0.0;
      for (int r = 0; r < 2 && lane % 4 == 0; ++r) {
        if (Query(work, r) >= queries) continue;
        grad += LearnedGradient(variant, params.args, mask, work.batch, work.head, Query(work, r),
                                p, sums[r]);
      }
      for (int step = 16; step > 0; step /= 2) grad += __shfl_xor_sync(~0u, grad, step);
      if (lane == 0) storage.learned[group][threadIdx.x / 32 % 4][p] = grad;
    }
    SyncNamed(15, 128 * kGroups);
    const int parts = static_cast<int>(params.args.shape.batch) * params.query_tiles;
    const int p = static_cast<int>(threadIdx.x) - 128;
    if (p < static_cast<int>(Variant::kLearned.size())) {
      double total = 0.0;
      for (int i = 0; i < kGroups * 4; ++i) total += storage.learned[i / 4][i % 4][p];
      params.learned[(p * params.args.shape.heads + work.head) * parts +
                     work.batch * params.query_tiles + work.tile] = total;
    }
    SyncNamed(15, 128 * kGroups);
  }

  __device__ void Run() {
    OrderTaker{storage.orders}.ForEach([&](int index, bool) {
      const Work work(params.schedule, index, kCausal);
      Begin(work);
      Absorb(work);
      Element* rows[2] = {nullptr, nullptr};
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        if (Query(work, r) >= queries) continue;
        rows[r] = RowAt(params.args.q_grad, work.batch, work.head, Query(work, r)) + lane % 4 * 2;
      }
      StoreRows(q_grad, rows, {map[0].gain, map[1].gain});
      if (kLearns) StoreLearned(work);
    });
  }
};

}  // namespace attnlab::hopper

extern "C" __global__ void __launch_bounds__(attnlab::hopper::kThreads, 1)
    HopperQueries(const __grid_constant__ attnlab::hopper::BackwardParams params) {
  using namespace attnlab::hopper;
  extern __shared__ char raw[];
  Storage& storage = SharedAs<Storage>(raw);
  if (threadIdx.x == 0) {
    InitRing(storage.query_full, storage.query_empty, 4);
    InitRing(storage.full, storage.empty, 4 * kGroups);
    storage.orders.Init();
    FenceBarrierInit();
  }
  __syncthreads();
  SplitRoles(
      [&](int warp) {
        if (warp == 0) Produce(params, storage);
      },
      [&](int group) { Consumer(params, storage, group).Run(); });
}
