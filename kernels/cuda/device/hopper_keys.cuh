// The backward's gradients of keys and values on sm_90a. A warpgroup holds 64 keys and their two
// gradients; query tiles of all heads that read them pass by:
//
//     S^T = K Q^T    dP^T = V dO^T    dV += P^T dO    dK += dS^T Q
//
// Scores are transposed, so that P^T and dS^T go from the accumulators of one product into the next
// as they are, warpgroups do not wait for each other, and each sum has one order.
#include "kernels/cuda/device/hopper_gradient.cuh"

namespace attnlab::hopper {

inline constexpr int kQueryTile = ATTNLAB_TILE;
inline constexpr int kKeyTile = 64 * kGroups;

struct alignas(1024) Storage {
  char k[kGroups][kTileBytes<64>];
  char v[kGroups][kTileBytes<64>];
  char q[kStages][kTileBytes<kQueryTile>];
  char out_grad[kStages][kTileBytes<kQueryTile>];
  alignas(128) RowStatistic statistics[kStages][kQueryTile];
  alignas(128) RowMap maps[kStages][kMapped ? kQueryTile : 1];
  uint64_t key_full[kGroups], key_empty[kGroups];
  uint64_t full[kStages], empty[kStages];
};

__device__ __forceinline__ QueryTiles<kQueryTile> QueriesOf(const BackwardParams& params,
                                                            const Work& work) {
  const Shape& shape = params.args.shape;
  const int first = work.tile * kKeyTile;
  const int last = min(first + kKeyTile, static_cast<int>(shape.keys)) - 1;
  return QueryTiles<kQueryTile>(MaskOf(params.args, work.batch), first, last,
                                static_cast<int>(shape.queries));
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
  uint32_t key_parity = 1;
  const int heads = static_cast<int>(params.args.shape.heads);
  const int sharing = heads / static_cast<int>(params.args.shape.kv_heads);
  for (WorkList list{params.schedule.count}; !list.Done(); list.Next()) {
    const Work work(params.schedule, list.index, false);
    const auto queries = QueriesOf(params, work);
    for (int group = 0; group < kGroups; ++group) {
      uint64_t* full = &storage.key_full[group];
      Wait(&storage.key_empty[group], key_parity);
      const int row = work.tile * kKeyTile + 64 * group;
      if (!Elected()) continue;
      ExpectBytes(full, 2 * kTileBytes<64>);
      LoadTile<64>(storage.k[group], params.k, full, row, work.head, work.batch);
      LoadTile<64>(storage.v[group], params.v, full, row, work.head, work.batch);
    }
    key_parity ^= 1;
    for (int head = work.head * sharing; head < (work.head + 1) * sharing; ++head) {
      const int64_t rows = (static_cast<int64_t>(work.batch) * heads + head) * params.padded;
      auto live = LiveQueries(params, work, head);
      for (int tile = queries.begin; tile < queries.end; ++tile) {
        const bool used = !kSkip || live(tile);
        if (kSkip && Variant::kTraits.massless && !used) continue;
        Wait(&storage.empty[place.stage], place.parity ^ 1);
        if (Elected())
          LoadQueries(params, storage, place.stage, tile, head, work.batch, rows, used);
        place.Advance();
      }
    }
  }
}

struct Consumer {
  const BackwardParams& params;
  Storage& storage;
  const Variant variant;
  const int group;
  const int lane = threadIdx.x % 32;
  const int warp_row = threadIdx.x / 32 % 4 * 16 + lane / 4;
  RingPlace<kStages> place;
  uint32_t key_parity = 0;

  Mask mask;
  int queries, keys;
  float slope;
  int own_key;  // of this thread's first row
  float k_grad[kDim / 2];
  float v_grad[kDim / 2];
  float s[kQueryTile / 2];
  float dp[kQueryTile / 2];
  uint32_t weights[kQueryTile / 4];
  uint32_t grads[kQueryTile / 4];

  __device__ Consumer(const BackwardParams& params, Storage& storage, int group)
      : params(params),
        storage(storage),
        variant(WithConstants<Variant>(params.args.constants)),
        group(group),
        queries(static_cast<int>(params.args.shape.queries)),
        keys(static_cast<int>(params.args.shape.keys)) {}

  // Scores of the stage to weights and gradients, packed. Columns are queries from `first` on.
  template <bool kPartial, bool kUsed>
  __device__ __forceinline__ void Weigh(int first, int key) {
    const RowStatistic* statistics = storage.statistics[place.stage] + lane % 4 * 2;
    const RowMap* maps = storage.maps[place.stage] + lane % 4 * 2;
    const int column = first + lane % 4 * 2;
    float pair_weight = 0.0f, pair_grad = 0.0f;
    ForEachHeld<kQueryTile>([&](int r, int c, int i) {
      const RowStatistic row = statistics[c];
      float x = s[i], gain = params.args.scale;
      if (kMapped) {
        const RowMap map = maps[c];
        gain = map.gain;
        x = fmaf(x, gain, fmaf(slope, key + 8 * r, map.offset));
      }
      ScoreGradient gradient = GradientOf(variant, x, kUsed ? dp[i] : 0.0f, gain, row);
      if (kMapped) gradient.score *= gain;
      if (kPartial && !Sees(mask, column + c, key + 8 * r, queries, keys)) gradient = {0.0f, 0.0f};
      if (i % 2 == 0) {
        pair_weight = gradient.weight;
        pair_grad = gradient.score;
      } else {
        weights[i / 2] = Pack<Element, Rectifies()>(pair_weight, gradient.weight);
        grads[i / 2] = Pack<Element>(pair_grad, gradient.score);
      }
    });
  }

  __device__ __forceinline__ void IssueScores() {
    MultiplyRows<64, kQueryTile>(s, storage.k[group], storage.q[place.stage]);
  }
  __device__ __forceinline__ void IssueGradients() {
    MultiplyRows<64, kQueryTile>(dp, storage.v[group], storage.out_grad[place.stage]);
  }
  __device__ __forceinline__ void Release() {
    if (lane == 0) Arrive(&storage.empty[place.stage]);
    place.Advance();
  }

  // The stage's tile. kUsed: some weight of it may not be 0; if not, its dO is not there.
  template <bool kUsed>
  __device__ __forceinline__ void RunTile(int tile, int first_key) {
    FenceRegisters(s);
    FenceRegisters(dp);
    FenceRegisters(k_grad);
    FenceRegisters(v_grad);
    FenceProducts();
    IssueScores();
    if (kUsed) IssueGradients();
    CommitProducts();
    WaitProducts<0>();
    FenceRegisters(s);
    FenceRegisters(dp);
    if (IsPartial<kQueryTile, 64>(mask, tile, first_key)) {
      Weigh<true, kUsed>(tile * kQueryTile, own_key);
    } else {
      Weigh<false, kUsed>(tile * kQueryTile, own_key);
    }
    FenceRegisters(weights);
    FenceRegisters(grads);
    FenceRegisters(k_grad);
    FenceRegisters(v_grad);
    FenceProducts();
    if (kUsed) AddWeighted<kQueryTile>(v_grad, weights, storage.out_grad[place.stage]);
    AddWeighted<kQueryTile>(k_grad, grads, storage.q[place.stage]);
    CommitProducts();
    WaitProducts<0>();
    FenceRegisters(k_grad);
    FenceRegisters(v_grad);
  }

  __device__ __forceinline__ void Absorb(const Work& work, int head) {
    const auto tiles = QueriesOf(params, work);
    const int first_key = work.tile * kKeyTile + 64 * group;
    if (kMapped) {
      const Row<float> row = RowOf(params.args, mask, head, 0);
      slope = RowScore<Variant, float>(variant, row).slope;
    }
    own_key = first_key + warp_row;
    auto live = LiveQueries(params, work, head);
#pragma unroll 1
    for (int tile = tiles.begin; tile < tiles.end; ++tile) {
      const bool used = !kSkip || live(tile);
      if (kSkip && Variant::kTraits.massless && !used) continue;
      Wait(&storage.full[place.stage], place.parity);
      // Queries that come before all of this warpgroup's keys need nothing.
      if (!kCausal || (tile + 1) * kQueryTile + static_cast<int>(mask.query_offset) > first_key) {
        if (used) {
          RunTile<true>(tile, first_key);
        } else if constexpr (!Variant::kTraits.massless) {
          RunTile<false>(tile, first_key);
        }
      }
      Release();
    }
  }

  __device__ void Run() {
    const int sharing =
        static_cast<int>(params.args.shape.heads) / static_cast<int>(params.args.shape.kv_heads);
    for (WorkList list{params.schedule.count}; !list.Done(); list.Next()) {
      const Work work(params.schedule, list.index, false);
      mask = MaskOf(params.args, work.batch);
#pragma unroll
      for (int i = 0; i < kDim / 2; ++i) k_grad[i] = v_grad[i] = 0.0f;
      Wait(&storage.key_full[group], key_parity);
      key_parity ^= 1;
      for (int head = work.head * sharing; head < (work.head + 1) * sharing; ++head) {
        Absorb(work, head);
      }
      if (lane == 0) Arrive(&storage.key_empty[group]);
      Element* k_rows[2] = {nullptr, nullptr};
      Element* v_rows[2] = {nullptr, nullptr};
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const int key = work.tile * kKeyTile + 64 * group + warp_row + 8 * r;
        if (key >= keys) continue;
        k_rows[r] = RowAt(params.args.k_grad, work.batch, work.head, key) + lane % 4 * 2;
        v_rows[r] = RowAt(params.args.v_grad, work.batch, work.head, key) + lane % 4 * 2;
      }
      const float scale = kMapped ? 1.0f : params.args.scale;
      StoreRows(k_grad, k_rows, {scale, scale});
      StoreRows(v_grad, v_rows, {1.0f, 1.0f});
    }
  }
};

}  // namespace attnlab::hopper

extern "C" __global__ void __launch_bounds__(attnlab::hopper::kThreads, 1)
    HopperKeys(const __grid_constant__ attnlab::hopper::BackwardParams params) {
  using namespace attnlab::hopper;
  extern __shared__ char raw[];
  Storage& storage = SharedAs<Storage>(raw);
  if (threadIdx.x == 0) {
    InitRing(storage.key_full, storage.key_empty, 4);
    InitRing(storage.full, storage.empty, 4 * kGroups);
    FenceBarrierInit();
  }
  __syncthreads();
  SplitRoles([&] { Produce(params, storage); },
             [&](int group) { Consumer(params, storage, group).Run(); });
}
