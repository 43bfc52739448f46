// The backward on sm_90a. A block holds 128 keys, 64 in each of two warpgroups, and their
// gradients; query tiles of all heads that read them pass by:
//
//     S^T = K Q^T    dP^T = V dO^T    dV += P^T dO    dK += dS^T Q    dQ += dS K
//
// Scores are transposed, so that P^T and dS^T go from the accumulators of one product into the
// next as they are. For dQ, dS^T goes through shared memory; both warpgroups' keys are summed
// there, each by one warpgroup for a half of the tile, and the sum joins those of other blocks in
// global memory, in float32. Blocks take turns at a query tile in a fixed order, so that each sum
// has one (TurnOf). HopperQueryGradients scales and rounds the sums.
//
// For variants whose heads learn something dQ is left to hopper_queries.cuh.
#include "kernels/cuda/device/hopper_backward_copies.cuh"

namespace attnlab::hopper {

struct Consumer : Multiplier<Storage> {
  using Multiplier<Storage>::Multiplier;

  uint32_t keys_parity = 0;

  float slope;
  int own_key;  // of this thread's first row
  float k_grad[kDim / 2];
  float v_grad[kDim / 2];
  float s[kParts][32];
  float dp[kParts][32];
  uint32_t weights[kParts][16];
  uint32_t grads[kParts][16];
  float q_grad[32];

  // Scores of a part to weights and gradients, packed. Columns are queries from `first` on.
  template <bool kPartial, bool kUsed>
  __device__ __forceinline__ void WeighAs(int part, int first) {
    const RowStatistic* statistics = storage.statistics[place.stage] + 64 * part + lane % 4 * 2;
    const RowMap* maps = storage.maps[place.stage] + 64 * part + lane % 4 * 2;
    const int column = first + lane % 4 * 2;
    float pair_weight = 0.0f, pair_grad = 0.0f;
    ForEachHeld<64>([&](int r, int c, int i) {
      const RowStatistic row = statistics[c];
      float x = s[part][i], gain = params.args.scale;
      if (kMapped) {
        const RowMap map = maps[c];
        gain = map.gain;
        x = fmaf(x, gain, fmaf(slope, own_key + 8 * r, map.offset));
      }
      ScoreGradient gradient = GradientOf(variant, x, kUsed ? dp[part][i] : 0.0f, gain, row);
      if (kMapped) gradient.score *= gain;
      if (kPartial && !Sees(mask, column + c, own_key + 8 * r, queries, keys)) {
        gradient = {0.0f, 0.0f};
      }
      if (i % 2 == 0) {
        pair_weight = gradient.weight;
        pair_grad = gradient.score;
      } else {
        weights[part][i / 2] = Pack<Element, Rectifies()>(pair_weight, gradient.weight);
        grads[part][i / 2] = Pack<Element>(pair_grad, gradient.score);
      }
    });
  }

  template <bool kUsed>
  __device__ __forceinline__ void Weigh(int part, int tile, int first_key) {
    const int first = tile * kQueryTile + 64 * part;
    if (IsPartial<64, 64>(mask, first / 64, first_key)) {
      WeighAs<true, kUsed>(part, first);
    } else {
      WeighAs<false, kUsed>(part, first);
    }
  }

  // A part's 64 rows of a stage's tile.
  static __device__ __forceinline__ const char* PartOf(const char* tile, int part) {
    return tile + part * 64 * 128;
  }

  // Where there is one place for dS^T: until the other warpgroup is done with the products that
  // read the tile before; and telling it so.
  __device__ __forceinline__ void AwaitScoreGradients() const {
    if (kScorePlaces == 1) SyncNamed(5 - group, 128 * kGroups);
  }
  __device__ __forceinline__ void PassScoreGradients() const {
    if (kScorePlaces == 1) ArriveNamed(4 + group, 128 * kGroups);
  }

  // The two warpgroups wait here for each other's dS^T.
  __device__ __forceinline__ void SyncScoreGradients() {
    FenceShared();
    SyncNamed(1, 128 * kGroups);
  }

  // dS^T of a part to shared memory: 16 keys a warp, 8 by 8 numbers a matrix.
  __device__ __forceinline__ void ShareScoreGradients(int part) {
    const int key = 64 * group + threadIdx.x / 32 % 4 * 16 + lane % 16;
    char* row = storage.score_grad[place.stage % kScorePlaces][part] + key * 128;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      StoreMatrices(row + ((2 * i + lane / 16) ^ key % 8) * 16, grads[part] + 4 * i);
    }
  }

  // Starts this warpgroup's half of dS K: queries 64 group.. of the tile, or dims 64 group.. of it.
  __device__ __forceinline__ void StartQueryGradients() {
    const bool by_dim = kDim == 128;
    const uint64_t left = Descriptor(
        storage.score_grad[place.stage % kScorePlaces][by_dim ? 0 : group], kPanelBytes<kKeyTile>);
    FenceRegisters(q_grad);
    FenceProducts();
#pragma unroll
    for (int of = 0; of < kGroups; ++of) {
      const char* keys_of = storage.k[of] + (by_dim ? group * kPanelBytes<64> : 0);
      const uint64_t right = Descriptor(keys_of, kPanelBytes<64>);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        constexpr int kStep = 16 * 128 >> 4;
        Product<Element, 64, true, true>::Run(q_grad, left + (4 * of + i) * kStep,
                                              right + i * kStep, of + i > 0);
      }
    }
  }

  // Until this warpgroup's part of sums[i] may be written. The ring of stages, of which each tile
  // takes one, too, tells how often it was.
  __device__ __forceinline__ void AwaitSums(uint32_t i) const {
    const uint32_t again = i < place.stage ? place.parity : place.parity ^ 1;
    Wait(&storage.sums_empty[i][group], kSumPlaces == 2 ? again : place.stage ^ 1);
  }

  __device__ __forceinline__ void LeaveQueryGradients() {
    PassScoreGradients();
    const uint32_t at = place.stage % kSumPlaces;
    AwaitSums(at);
    float4* to = &storage.sums[at][group][0][threadIdx.x % 128];
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      to[128 * i] =
          make_float4(q_grad[4 * i], q_grad[4 * i + 1], q_grad[4 * i + 2], q_grad[4 * i + 3]);
    }
    FenceShared();
    __syncwarp();
    if (lane == 0) Arrive(&storage.sums_full[place.stage][group]);
  }

  template <int kCount>
  __device__ __forceinline__ static void FenceParts(float (&parts)[kParts][kCount]) {
#pragma unroll
    for (int part = 0; part < kParts; ++part) FenceRegisters(parts[part]);
  }

  // The stage's tile. kUsed: some weight of it may not be 0; if not, its dO is not there.
  template <bool kUsed>
  __device__ __forceinline__ void RunTile(int tile, int first_key) {
    const char* q = storage.q[place.stage];
    const char* out_grad = storage.out_grad[place.stage];
    FenceParts(s);
    FenceParts(dp);
    FenceProducts();
#pragma unroll
    for (int part = 0; part < kParts; ++part) {
      MultiplyRows<64, 64>(s[part], storage.k[group], PartOf(q, part));
      if (kUsed) MultiplyRows<64, 64>(dp[part], storage.v[group], PartOf(out_grad, part));
      CommitProducts();
    }
#pragma unroll
    for (int part = 0; part < kParts; ++part) {
      // In flight beside this part's scores: the other's, or its dV and dK.
      WaitProducts<kParts - 1>();
      FenceRegisters(s[part]);
      FenceRegisters(dp[part]);
      Weigh<kUsed>(part, tile, first_key);
      FenceRegisters(weights[part]);
      FenceRegisters(grads[part]);
      FenceRegisters(v_grad);
      FenceRegisters(k_grad);
      FenceProducts();
      if (kUsed) AddWeighted<64>(v_grad, weights[part], PartOf(out_grad, part));
      if (kSumsQueries && part == 0) AwaitScoreGradients();
      if (kSumsQueries) ShareScoreGradients(part);
      if (part + 1 == kParts) break;
      AddWeighted<64>(k_grad, grads[part], PartOf(q, part));
      CommitProducts();
    }
    CommitProducts();
    if constexpr (kSumsQueries) {
      SyncScoreGradients();
      StartQueryGradients();
      CommitProducts();
    }
    AddWeighted<64>(k_grad, grads[kParts - 1], PartOf(q, kParts - 1));
    CommitProducts();
    if constexpr (kSumsQueries) {
      WaitProducts<1>();
      FenceRegisters(q_grad);
      LeaveQueryGradients();
    }
    WaitProducts<0>();
#pragma unroll
    for (int part = 0; part < kParts; ++part) {
      FenceRegisters(weights[part]);
      FenceRegisters(grads[part]);
    }
    FenceRegisters(k_grad);
    FenceRegisters(v_grad);
  }

  // A tile whose queries come before all of this warpgroup's keys.
  __device__ __forceinline__ void RunEarlyTile() {
    if constexpr (kSumsQueries) {
      AwaitScoreGradients();
#pragma unroll
      for (int part = 0; part < kParts; ++part) {
#pragma unroll
        for (int i = 0; i < 16; ++i) grads[part][i] = 0;
        ShareScoreGradients(part);
      }
      SyncScoreGradients();
      StartQueryGradients();
      CommitProducts();
      WaitProducts<0>();
      FenceRegisters(q_grad);
      LeaveQueryGradients();
    }
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
    for (int i = 0; i < tiles.end - tiles.begin; ++i) {
      const int tile = QueryTileAt(params, work, tiles, i);
      const bool used = !kSkip || live(tile);
      if (kLeavesOut && !used) continue;
      Wait(&storage.full[place.stage], place.parity);
      if (kCausal && (tile + 1) * kQueryTile + static_cast<int>(mask.query_offset) <= first_key) {
        RunEarlyTile();
      } else if (used) {
        RunTile<true>(tile, first_key);
      } else if constexpr (!Variant::kTraits.massless) {
        RunTile<false>(tile, first_key);
      }
      Arrive(&storage.empty[place.stage]);  // each thread, for each has read statistics
      place.Advance();
    }
  }

  // 64 rows times `factor` to a tile in shared memory, as the copy engine takes it.
  __device__ __forceinline__ void StageRows(char* tile, const float (&rows)[kDim / 2],
                                            float factor) const {
    const int row = threadIdx.x / 32 % 4 * 16 + lane % 16;
#pragma unroll
    for (int i = 0; i < kDim / 16; ++i) {
      const int unit = 2 * i + lane / 16;  // of 8 dims
      uint32_t packed[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        packed[j] = Pack<Element>(rows[8 * i + 2 * j] * factor, rows[8 * i + 2 * j + 1] * factor);
      }
      StoreMatrices(tile + unit / 8 * kPanelBytes<64> + row * 128 + (unit % 8 ^ row % 8) * 16,
                    packed);
    }
  }

  __device__ __forceinline__ void SyncGroup() const { SyncNamed(2 + group, 128); }
  __device__ __forceinline__ bool Leads() const { return threadIdx.x % 128 == 0; }

  // Leaves dK and dV to the copy engine, in shared memory that the next tiles write again.
  __device__ __forceinline__ void Store(const Work& work) {
    char* k_rows = reinterpret_cast<char*>(storage.sums[0][group]);
    char* v_rows = reinterpret_cast<char*>(storage.sums[kSumPlaces - 1][group]) +
                   (kSumPlaces == 1 ? kTileBytes<64> : 0);
    for (int i = 0; kSumsQueries && i < kSumPlaces; ++i) AwaitSums(i);
    StageRows(k_rows, k_grad, kMapped ? 1.0f : params.args.scale);
    StageRows(v_rows, v_grad, 1.0f);
    FenceShared();
    SyncGroup();
    if (!Leads()) return;
    const int key = work.tile * kKeyTile + 64 * group;
    StoreTile<64>(params.k_grad, k_rows, key, work.head, work.batch);
    StoreTile<64>(params.v_grad, v_rows, key, work.head, work.batch);
    CommitStores();
  }

  __device__ void Run() {
    const int sharing =
        static_cast<int>(params.args.shape.heads) / static_cast<int>(params.args.shape.kv_heads);
    if (kSumsQueries) PassScoreGradients();
    for (KeyBlocks list(params.schedule); !list.Done(); list.Next()) {
      const Work work = list.Get();
      mask = MaskOf(params.args, work.batch);
#pragma unroll
      for (int i = 0; i < kDim / 2; ++i) k_grad[i] = v_grad[i] = 0.0f;
      if (Leads()) WaitStoresRead();
      SyncGroup();
      Wait(storage.keys_full, keys_parity);
      keys_parity ^= 1;
      for (int pass = 0; pass < sharing; ++pass) Absorb(work, HeadAt(params, work, pass));
      if (lane == 0) Arrive(storage.keys_empty);
      Store(work);
    }
    if (Leads()) WaitStores();
  }
};

// dQ of one tile from its sums; none if no block added to it. A thread takes 8 dims of two rows,
// which four threads of a warpgroup left (LeaveQueryGradients).
__device__ __forceinline__ void RoundQueryGradients(const BackwardParams& params) {
  const int head = blockIdx.y, batch = blockIdx.z;
  const int64_t place =
      (static_cast<int64_t>(batch) * params.args.shape.heads + head) * params.query_tiles +
      blockIdx.x;
  const bool some = params.turns[place] != 0;
  const float scale = kMapped ? 1.0f : params.args.scale;
  const int unit = threadIdx.x % 8, quad = threadIdx.x / 8;
#pragma unroll
  for (int group = 0; group < kGroups; ++group) {
    const float4* from = reinterpret_cast<const float4*>(params.query_sums + place * kSums) +
                         group * (kSums / kGroups / 4) + unit * 128 + quad * 4;
    float4 sums[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) sums[i] = some ? from[i] : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    const int dim = (kDim == 128 ? 64 * group : 0) + 8 * unit;
    const int row =
        blockIdx.x * kQueryTile + (kDim == 128 ? 0 : 64 * group) + quad / 8 * 16 + quad % 8;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      if (row + 8 * r >= static_cast<int>(params.args.shape.queries)) continue;
      uint32_t packed[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float4& sum = sums[i];
        packed[i] =
            Pack<Element>((r == 0 ? sum.x : sum.z) * scale, (r == 0 ? sum.y : sum.w) * scale);
      }
      *reinterpret_cast<uint4*>(RowAt(params.args.q_grad, batch, head, row + 8 * r) + dim) =
          make_uint4(packed[0], packed[1], packed[2], packed[3]);
    }
  }
}

}  // namespace attnlab::hopper

extern "C" __global__ void __launch_bounds__(attnlab::hopper::kThreads, 1)
    HopperBackward(const __grid_constant__ attnlab::hopper::BackwardParams params) {
  using namespace attnlab::hopper;
  extern __shared__ char raw[];
  Storage& storage = SharedAs<Storage>(raw);
  if (threadIdx.x == 0) {
    InitRing(storage.keys_full, storage.keys_empty, 4 * kGroups);
    InitRing(storage.full, storage.empty, 128 * kGroups);
    for (int group = 0; group < kGroups; ++group) {
      InitBarrier(&storage.sums_full[0][group], 4);
      InitBarrier(&storage.sums_full[1][group], 4);
      for (auto& place : storage.sums_empty) InitBarrier(&place[group], 1);
    }
    FenceBarrierInit();
  }
  __syncthreads();
  SplitRoles<kLeavesOut>(
      [&](int warp) {
        if (warp == 0) Produce(params, storage);
        if constexpr (kSumsQueries) {
          if (warp == 1 || warp == 2) AddSums(params, storage, warp - 1);
        }
      },
      [&](int group) { Consumer(params, storage, group).Run(); });
}

// Grid (query tiles, heads, batch).
extern "C" __global__ void __launch_bounds__(256)
    HopperQueryGradients(const __grid_constant__ attnlab::hopper::BackwardParams params) {
  attnlab::hopper::RoundQueryGradients(params);
}
