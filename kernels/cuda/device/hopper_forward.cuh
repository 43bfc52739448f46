// Attention forward on sm_90a: FlashAttention-3's schedule (Shah et al. 2024, 2407.08608) for every
// variant. One warpgroup copies tiles with the bulk tensor engine; kGroups others hold 64 query
// rows each, multiply with wgmma and take turns, so that one's weights are computed while the
// others multiply. Within a warpgroup the scores of the next tile are in flight, too.
//
// Blocks stay for the whole launch and walk a list of query tiles, long rows first, heads in
// sections whose keys and values fit into the L2 cache.
#include "kernels/cuda/device/hopper.cuh"
#include "kernels/cuda/device/hopper_params.h"
#include "kernels/cuda/device/rows.cuh"

namespace attnlab::hopper {

inline constexpr int kDim = ATTNLAB_HEAD_DIM;
inline constexpr int kGroups = ATTNLAB_GROUPS;
inline constexpr int kKeyTile = ATTNLAB_KEY_TILE;
inline constexpr int kStages = ATTNLAB_STAGES;
inline constexpr int kQueryTile = 64 * kGroups;
inline constexpr int kPanels = kDim / 64;
inline constexpr int kQueryPanel = 64 * 128;  // bytes, of one warpgroup
inline constexpr int kKeyPanel = kKeyTile * 128;
inline constexpr int kTileBytes = kPanels * kKeyPanel;
inline constexpr int kThreads = 128 * (kGroups + 1);
// The shift follows the row's maximum only where it grew by more than this, in units of log 2, so
// that sums are seldom rescaled; weights stay below 2^8 (FlashAttention-4, 2603.05451).
inline constexpr float kShiftSlack = 8.0f;

struct alignas(1024) Storage {
  char q[kGroups][kPanels * kQueryPanel];
  char k[kStages][kTileBytes];
  char v[kStages][kTileBytes];
  uint64_t q_full[kGroups], q_empty[kGroups];
  uint64_t k_full[kStages], k_empty[kStages];
  uint64_t v_full[kStages], v_empty[kStages];
  // Whether a warp's weights of a tile hold any number but 0; two tiles in turn.
  uint8_t any_weight[2][kGroups][4];
};

// One element of the list: a tile of queries of one head.
struct Work {
  int tile, head, batch;

  __device__ Work(const ForwardParams& params, int index) {
    const int per_section = params.section * params.query_tiles;
    const int section = index / per_section;
    const int first = section * params.section;
    const int all = static_cast<int>(params.args.shape.batch * params.args.shape.heads);
    const int size = min(params.section, all - first);
    const int rest = index - section * per_section;
    tile = params.query_tiles - 1 - rest / size;
    const int place = first + rest % size;
    batch = place / static_cast<int>(params.args.shape.heads);
    head = place % static_cast<int>(params.args.shape.heads);
  }
  __device__ KeyTiles<kKeyTile> Keys(const ForwardParams& params) const {
    const int first = tile * kQueryTile;
    const int last = min(first + kQueryTile, static_cast<int>(params.args.shape.queries)) - 1;
    return KeyTiles<kKeyTile>(MaskOf(params.args, batch), first, last,
                              static_cast<int>(params.args.shape.keys));
  }
};

__device__ __forceinline__ void LoadTile(char* to, const TensorMap& map, uint64_t* barrier, int row,
                                         int head, int batch) {
  ExpectBytes(barrier, kTileBytes);
#pragma unroll
  for (int p = 0; p < kPanels; ++p) Load(to + p * kKeyPanel, map, barrier, 64 * p, row, head, batch);
}

__device__ void Produce(const ForwardParams& params, Storage& storage) {
  RingPlace<kStages> place;
  uint32_t q_parity = 1;
  const int sharing = static_cast<int>(params.args.shape.heads / params.args.shape.kv_heads);
  for (int index = blockIdx.x; index < params.work; index += gridDim.x) {
    const Work work(params, index);
    const auto keys = work.Keys(params);
    const int count = keys.Count();
    if (count == 0) continue;
    const int kv_head = work.head / sharing;
    const auto load_keys = [&](int i) {
      Wait(&storage.k_empty[place.stage], place.parity ^ 1);
      LoadTile(storage.k[place.stage], params.k, &storage.k_full[place.stage],
               keys.Tile(i) * kKeyTile, kv_head, work.batch);
    };
    // The first keys need no query to be gone.
    load_keys(0);
    for (int group = 0; group < kGroups; ++group) {
      Wait(&storage.q_empty[group], q_parity);
      ExpectBytes(&storage.q_full[group], kPanels * kQueryPanel);
      for (int p = 0; p < kPanels; ++p) {
        Load(storage.q[group] + p * kQueryPanel, params.q, &storage.q_full[group], 64 * p,
             work.tile * kQueryTile + 64 * group, work.head, work.batch);
      }
    }
    q_parity ^= 1;
    for (int i = 0; i < count; ++i) {
      if (i > 0) load_keys(i);
      Wait(&storage.v_empty[place.stage], place.parity ^ 1);
      LoadTile(storage.v[place.stage], params.v, &storage.v_full[place.stage],
               keys.Tile(i) * kKeyTile, kv_head, work.batch);
      place.Advance();
    }
  }
}

// A warpgroup's 64 query rows while they absorb keys. A thread holds columns 8 i + 2 (lane % 4) and
// the next one of rows lane / 4 and lane / 4 + 8 of its warp.
struct Consumer {
  const ForwardParams& params;
  Storage& storage;
  const Variant variant;
  const int group;  // of warps: 0 to kGroups - 1
  const int lane = threadIdx.x % 32;
  const int warp_row = threadIdx.x / 32 % 4 * 16 + lane / 4;
  RingPlace<kStages> k_place, v_place;
  uint32_t q_parity = 0;

  Mask mask;
  int queries, keys;
  RowLimits limits[2];
  ScoreMap map[2];
  float shift[2];    // in use
  float highest[2];  // maximum so far; shift trails it by less than the slack
  float mass[2];     // this thread's columns only
  float o[kDim / 2];
  float s[kKeyTile / 2];
  uint32_t p[kKeyTile / 4];
  bool any;  // a weight of this thread may not be 0

  __device__ Consumer(const ForwardParams& params, Storage& storage, int group)
      : params(params),
        storage(storage),
        variant(WithConstants<Variant>(params.args.constants)),
        group(group) {}

  __device__ __forceinline__ int Query(const Work& work, int r) const {
    return work.tile * kQueryTile + group * 64 + warp_row + 8 * r;
  }

  __device__ __forceinline__ void Begin(const Work& work) {
    mask = MaskOf(params.args, work.batch);
    keys = static_cast<int>(params.args.shape.keys);
    queries = static_cast<int>(params.args.shape.queries);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int query = min(Query(work, r), queries - 1);
      limits[r] = LimitsOf(mask, query, queries, keys);
      const Row<float> row = RowOf(params.args, mask, work.head, query);
      map[r] = ScoreMapOf(params.args, variant, row);
      shift[r] = highest[r] = kShifted ? variant.Floor(row) : 0.0f;
      mass[r] = 0.0f;
    }
#pragma unroll
    for (int i = 0; i < kDim / 2; ++i) o[i] = 0.0f;
  }

  __device__ __forceinline__ void IssueScores() {
    Wait(&storage.k_full[k_place.stage], k_place.parity);
    const uint64_t a = Descriptor(storage.q[group], kQueryPanel);
    const uint64_t b = Descriptor(storage.k[k_place.stage], kKeyPanel);
    FenceRegisters(s);
    FenceProducts();
#pragma unroll
    for (int k = 0; k < kDim / 16; ++k) {
      const int panel = k / 4, step = k % 4 * 2;
      Product<Element, kKeyTile, false>::Run(s, a + panel * (kQueryPanel >> 4) + step,
                                             b + panel * (kKeyPanel >> 4) + step, k > 0);
    }
    CommitProducts();
  }

  // o and p are fenced.
  __device__ __forceinline__ void IssueValues() {
    Wait(&storage.v_full[v_place.stage], v_place.parity);
    const uint64_t b = Descriptor(storage.v[v_place.stage], kKeyPanel);
    if (!kSkip) FenceProducts();
#pragma unroll
    for (int k = 0; k < kKeyTile / 16; ++k) {
      Product<Element, kDim, true>::Run(o, p + 4 * k, b + k * (16 * 128 >> 4), 1);
    }
  }

  __device__ __forceinline__ void ReleaseKeys() {
    if (lane == 0) Arrive(&storage.k_empty[k_place.stage]);
    k_place.Advance();
  }
  __device__ __forceinline__ void ReleaseValues() {
    if (lane == 0) Arrive(&storage.v_empty[v_place.stage]);
    v_place.Advance();
  }

  // Scores of tile `tile` to weights, in place; `keep` is what older sums are to be multiplied with.
  template <bool kPartial>
  __device__ __forceinline__ void Weigh(int tile, float (&keep)[2]) {
    const int column = tile * kKeyTile + lane % 4 * 2;
    any = false;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      if (kMapped) {
        const float base = fmaf(map[r].slope, column, map[r].offset);
        ForEachOf(r, [&](int c, float& x) { x = fmaf(x, map[r].gain, fmaf(map[r].slope, c, base)); });
      }
      if (kShifted) {
        float top = kNoFloor;
        const RowLimits limit = limits[r].From(column);
        ForEachOf(r, [&](int c, float& x) {
          top = fmaxf(top, !kPartial || limit.Sees(c, column, mask.key_documents) ? x : kNoFloor);
        });
        top = fmaxf(top, __shfl_xor_sync(~0u, top, 1));
        top = fmaxf(top, __shfl_xor_sync(~0u, top, 2));
        if (!kMapped && top > kNoFloor) top *= map[r].gain;
        if (kSkip) any = any || top >= 0.0f;
        highest[r] = fmaxf(highest[r], top);
        keep[r] = 1.0f;
        if ((highest[r] - shift[r]) * kLog2E > kShiftSlack) {
          keep[r] = Exp2((shift[r] - highest[r]) * kLog2E);
          shift[r] = highest[r];
        }
        mass[r] *= keep[r];
      }
      const Number m(shift[r]);
      const RowLimits limit = limits[r].From(column);
      ForEachOf(r, [&](int c, float& x) {
        const Weights<Number> weights = variant.Weigh(ScoreNumber(x, map[r].gain), m);
        const bool sees = !kPartial || limit.Sees(c, column, mask.key_documents);
        x = sees ? weights.weight.value : 0.0f;
        mass[r] += sees ? weights.mass.Value() : 0.0f;
      });
    }
  }

  // body(column, score) for this thread's scores of its row r.
  template <class Body>
  __device__ __forceinline__ void ForEachOf(int r, const Body& body) {
#pragma unroll
    for (int i = 0; i < kKeyTile / 8; ++i) {
      body(8 * i, s[4 * i + 2 * r]);
      body(8 * i + 1, s[4 * i + 2 * r + 1]);
    }
  }

  __device__ __forceinline__ void WeighTile(const KeyTiles<kKeyTile>& tiles, int i, int full_end,
                                            float (&keep)[2]) {
    const int tile = tiles.Tile(i);
    if (tiles.Partial(tile, full_end)) {
      Weigh<true>(tile, keep);
    } else {
      Weigh<false>(tile, keep);
    }
  }

  __device__ __forceinline__ void PackWeights() {
#pragma unroll
    for (int i = 0; i < kKeyTile / 4; ++i) {
      p[i] = Pack<Element, Rectifies()>(s[2 * i], s[2 * i + 1]);
      if (kSkip && !kShifted) any = any || p[i] != 0;
    }
  }

  __device__ __forceinline__ void Rescale(const float (&keep)[2]) {
    if (!kShifted || __all_sync(~0u, keep[0] == 1.0f && keep[1] == 1.0f)) return;
#pragma unroll
    for (int i = 0; i < kDim / 2; ++i) o[i] *= keep[i / 2 % 2];
  }

  // Tells the other warps of the group whether any weight of this warp's rows is not 0.
  __device__ __forceinline__ void Vote(int i) {
    if (!kSkip) return;
    any = __any_sync(~0u, any);
    if (lane == 0) storage.any_weight[i & 1][group][threadIdx.x / 32 % 4] = any;
  }
  // Whether any weight of the group's rows for tile i is not 0; after a barrier that follows Vote.
  __device__ __forceinline__ bool AnyWeight(int i) {
    if (!kSkip) return true;
    const uint32_t votes = *reinterpret_cast<volatile uint32_t*>(storage.any_weight[i & 1][group]);
    return __any_sync(~0u, votes != 0);
  }

  // Turns of the warpgroups at the tensor cores.
  __device__ __forceinline__ void TakeTurn() { SyncNamed(1 + group, 256); }
  __device__ __forceinline__ void PassTurn() { ArriveNamed(1 + (group + 1) % kGroups, 256); }

  __device__ __forceinline__ void Absorb(const Work& work) {
    const auto tiles = work.Keys(params);
    const int count = tiles.Count();
    if (count == 0) return;
    // Of this warpgroup alone: keys below own_end are seen by some row, below own_full by all.
    const int own_end = static_cast<int>(
        mask.RowSpan(min(work.tile * kQueryTile + group * 64 + 63, queries - 1), keys).end);
    const int own_full = static_cast<int>(
        mask.RowSpan(work.tile * kQueryTile + group * 64, keys).end);
    int first = 0;
    for (; first < count - 1 && tiles.Tile(first) * kKeyTile >= own_end; ++first) {
      TakeTurn();
      PassTurn();
      PassKeys();
      PassValues();
    }
    float keep[2];
    Wait(&storage.q_full[group], q_parity);
    q_parity ^= 1;
    TakeTurn();
    IssueScores();
    PassTurn();
    WaitProducts<0>();
    FenceRegisters(s);
    ReleaseKeys();
    WeighTile(tiles, first, own_full, keep);
    PackWeights();
    Vote(first);
    int skipped = 0;
#pragma unroll 1
    for (int i = first + 1; i < count; ++i) {
      TakeTurn();
      const bool used = AnyWeight(i - 1);
      FenceRegisters(o);
      FenceRegisters(p);
      IssueScores();
      if (used) IssueValues();
      CommitProducts();
      PassTurn();
      WaitProducts<1>();
      FenceRegisters(s);
      ReleaseKeys();
      WeighTile(tiles, i, own_full, keep);
      WaitProducts<0>();
      FenceRegisters(o);
      FinishValues(used, skipped);
      Rescale(keep);
      PackWeights();
      Vote(i);
    }
    if (lane == 0) Arrive(&storage.q_empty[group]);
    if (kSkip) SyncNamed(8 + group, 128);
    const bool used = AnyWeight(count - 1);
    FenceRegisters(o);
    FenceRegisters(p);
    if (kSkip) FenceProducts();
    if (used) IssueValues();
    CommitProducts();
    WaitProducts<0>();
    FenceRegisters(o);
    FinishValues(used, skipped);
    if (kSkip && params.args.tile_counts != nullptr && threadIdx.x % 128 == 0) {
      auto* counts = reinterpret_cast<unsigned long long*>(params.args.tile_counts);
      atomicAdd(counts, static_cast<unsigned long long>(count - first));
      atomicAdd(counts + 1, static_cast<unsigned long long>(skipped));
    }
  }

  // Gives a tile back that this warpgroup does not use, once it has arrived.
  __device__ __forceinline__ void PassKeys() {
    Wait(&storage.k_full[k_place.stage], k_place.parity);
    ReleaseKeys();
  }
  __device__ __forceinline__ void PassValues() {
    Wait(&storage.v_full[v_place.stage], v_place.parity);
    ReleaseValues();
  }
  __device__ __forceinline__ void FinishValues(bool used, int& skipped) {
    if (used) {
      ReleaseValues();
    } else {
      PassValues();
      ++skipped;
    }
  }

  __device__ __forceinline__ void Finish(const Work& work) {
    const ForwardArgs& args = params.args;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      mass[r] += __shfl_xor_sync(~0u, mass[r], 1);
      mass[r] += __shfl_xor_sync(~0u, mass[r], 2);
      const int query = Query(work, r);
      if (query >= queries) continue;
      const Row<float> row = RowOf(args, mask, work.head, query);
      const float last = kShifted ? Exp2((shift[r] - highest[r]) * kLog2E) : 1.0f;
      const float denominator = mass[r] * last + variant.Tail(highest[r], row);
      const float inverse = denominator == 0.0f ? 0.0f : last / denominator;
      Element* out = static_cast<Element*>(args.out.data) + work.batch * args.out.batch_stride +
                     work.head * args.out.head_stride + query * args.out.row_stride + lane % 4 * 2;
#pragma unroll
      for (int i = 0; i < kDim / 8; ++i) {
        *reinterpret_cast<uint32_t*>(out + 8 * i) =
            Pack<Element>(o[4 * i + 2 * r] * inverse, o[4 * i + 2 * r + 1] * inverse);
      }
      if (args.shift != nullptr && lane % 4 == 0) {
        const int64_t place =
            (static_cast<int64_t>(work.batch) * args.shape.heads + work.head) * queries + query;
        args.shift[place] = kShifted ? highest[r] : 0.0f;
        args.denominator[place] = denominator;
      }
    }
  }

  __device__ void Run() {
    if (group == kGroups - 1) ArriveNamed(1, 256);
    for (int index = blockIdx.x; index < params.work; index += gridDim.x) {
      const Work work(params, index);
      Begin(work);
      Absorb(work);
      Finish(work);
    }
  }
};

}  // namespace attnlab::hopper

extern "C" __global__ void __launch_bounds__(attnlab::hopper::kThreads, 1)
    HopperForward(const __grid_constant__ attnlab::hopper::ForwardParams params) {
  using namespace attnlab::hopper;
  extern __shared__ char raw[];
  Storage& storage =
      *reinterpret_cast<Storage*>(raw + ((1024 - (SharedAddress(raw) & 1023)) & 1023));
  if (threadIdx.x == 0) {
    for (int i = 0; i < kGroups; ++i) {
      InitBarrier(&storage.q_full[i], 1);
      InitBarrier(&storage.q_empty[i], 4);
    }
    for (int i = 0; i < kStages; ++i) {
      InitBarrier(&storage.k_full[i], 1);
      InitBarrier(&storage.v_full[i], 1);
      InitBarrier(&storage.k_empty[i], 4 * kGroups);
      InitBarrier(&storage.v_empty[i], 4 * kGroups);
    }
    FenceBarrierInit();
  }
  __syncthreads();
  if (threadIdx.x < 128) {
    GiveRegisters<kGroups == 2 ? 24 : 32>();
    if (threadIdx.x == 0) Produce(params, storage);
  } else {
    TakeRegisters<kGroups == 2 ? 240 : 160>();
    // The same in all threads of a warp, and known to be.
    const int group = __shfl_sync(~0u, static_cast<int>(threadIdx.x) / 128 - 1, 0);
    Consumer(params, storage, group).Run();
  }
}
