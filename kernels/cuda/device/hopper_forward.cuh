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
inline constexpr int kQueryPanel = kQueryTile * 128;  // bytes
inline constexpr int kKeyPanel = kKeyTile * 128;
inline constexpr int kTileBytes = kPanels * kKeyPanel;
inline constexpr int kThreads = 128 * (kGroups + 1);
// The shift follows the row's maximum only where it grew by more than this, in units of log 2, so
// that sums are seldom rescaled; weights stay below 2^8 (FlashAttention-4, 2603.05451).
inline constexpr float kShiftSlack = 8.0f;

struct alignas(1024) Storage {
  char q[kPanels * kQueryPanel];
  char k[kStages][kTileBytes];
  char v[kStages][kTileBytes];
  uint64_t q_full, q_empty;
  uint64_t k_full[kStages], k_empty[kStages];
  uint64_t v_full[kStages], v_empty[kStages];
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
  const int group = static_cast<int>(params.args.shape.heads / params.args.shape.kv_heads);
  for (int index = blockIdx.x; index < params.work; index += gridDim.x) {
    const Work work(params, index);
    const auto keys = work.Keys(params);
    if (keys.Count() == 0) continue;
    const int kv_head = work.head / group;
    Wait(&storage.q_empty, q_parity);
    q_parity ^= 1;
    ExpectBytes(&storage.q_full, kPanels * kQueryPanel);
    for (int p = 0; p < kPanels; ++p) {
      Load(storage.q + p * kQueryPanel, params.q, &storage.q_full, 64 * p, work.tile * kQueryTile,
           work.head, work.batch);
    }
    for (int i = 0; i < keys.Count(); ++i) {
      const int row = keys.Tile(i) * kKeyTile;
      Wait(&storage.k_empty[place.stage], place.parity ^ 1);
      LoadTile(storage.k[place.stage], params.k, &storage.k_full[place.stage], row, kv_head,
               work.batch);
      Wait(&storage.v_empty[place.stage], place.parity ^ 1);
      LoadTile(storage.v[place.stage], params.v, &storage.v_full[place.stage], row, kv_head,
               work.batch);
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
  int keys;
  RowLimits limits[2];
  ScoreMap map[2];
  float shift[2];    // in use
  float highest[2];  // maximum so far; shift trails it by less than the slack
  float mass[2];     // this thread's columns only
  float o[kDim / 2];
  float s[kKeyTile / 2];
  uint32_t p[kKeyTile / 4];

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
    const int queries = static_cast<int>(params.args.shape.queries);
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
    const uint64_t a = Descriptor(storage.q + group * 64 * 128, kQueryPanel);
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
    FenceRegisters(s);
  }

  __device__ __forceinline__ void IssueValues() {
    Wait(&storage.v_full[v_place.stage], v_place.parity);
    const uint64_t b = Descriptor(storage.v[v_place.stage], kKeyPanel);
    FenceRegisters(o);
    FenceProducts();
#pragma unroll
    for (int k = 0; k < kKeyTile / 16; ++k) {
      Product<Element, kDim, true>::Run(o, p + 4 * k, b + k * (16 * 128 >> 4), 1);
    }
    CommitProducts();
    FenceRegisters(o);
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
    if (kMapped) {
#pragma unroll
      for (int i = 0; i < kKeyTile / 2; ++i) {
        const int r = i / 2 % 2, c = i / 4 * 8 + i % 2;
        s[i] = fmaf(s[i], map[r].gain, fmaf(map[r].slope, column + c, map[r].offset));
      }
    }
    if (kShifted) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        float top = kNoFloor;
#pragma unroll
        for (int i = 0; i < kKeyTile / 4; ++i) {
          const int at = i / 2 * 4 + 2 * r + i % 2, c = i / 2 * 8 + i % 2;
          const bool sees = !kPartial || limits[r].Sees(column + c, mask.key_documents);
          if (sees) top = fmaxf(top, s[at]);
        }
        top = fmaxf(top, __shfl_xor_sync(~0u, top, 1));
        top = fmaxf(top, __shfl_xor_sync(~0u, top, 2));
        if (!kMapped && top > kNoFloor) top *= map[r].gain;
        highest[r] = fmaxf(highest[r], top);
        keep[r] = 1.0f;
        if ((highest[r] - shift[r]) * kLog2E > kShiftSlack) {
          keep[r] = Exp2((shift[r] - highest[r]) * kLog2E);
          shift[r] = highest[r];
        }
        mass[r] *= keep[r];
      }
    }
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const Number m(shift[r]);
      float sum = 0.0f;
#pragma unroll
      for (int i = 0; i < kKeyTile / 4; ++i) {
        const int at = i / 2 * 4 + 2 * r + i % 2, c = i / 2 * 8 + i % 2;
        const Weights<Number> weights = variant.Weigh(ScoreNumber(s[at], map[r].gain), m);
        const bool sees = !kPartial || limits[r].Sees(column + c, mask.key_documents);
        s[at] = sees ? weights.weight.value : 0.0f;
        sum += sees ? weights.mass.value : 0.0f;
      }
      mass[r] += sum;
    }
  }

  __device__ __forceinline__ void WeighTile(const KeyTiles<kKeyTile>& tiles, int i,
                                            float (&keep)[2]) {
    const int tile = tiles.Tile(i);
    if (tiles.Partial(tile)) {
      Weigh<true>(tile, keep);
    } else {
      Weigh<false>(tile, keep);
    }
  }

  __device__ __forceinline__ void PackWeights() {
#pragma unroll
    for (int i = 0; i < kKeyTile / 4; ++i) p[i] = Pack<Element>(s[2 * i], s[2 * i + 1]);
  }

  __device__ __forceinline__ void Rescale(const float (&keep)[2]) {
    if (!kShifted || __all_sync(~0u, keep[0] == 1.0f && keep[1] == 1.0f)) return;
#pragma unroll
    for (int i = 0; i < kDim / 2; ++i) o[i] *= keep[i / 2 % 2];
  }

  // Whether any of the warpgroup's packed weights is not 0.
  __device__ __forceinline__ bool AnyWeight() {
    if (!kSkip) return true;
    uint32_t bits = 0;
#pragma unroll
    for (int i = 0; i < kKeyTile / 4; ++i) bits |= p[i];
    int any;
    asm volatile(
        "{\n.reg .pred a, b;\nsetp.ne.b32 a, %1, 0;\n"
        "barrier.cta.red.or.pred b, %2, 128, a;\nselp.b32 %0, 1, 0, b;\n}\n"
        : "=r"(any)
        : "r"(bits), "r"(8 + group)
        : "memory");
    return any != 0;
  }

  // Turns of the warpgroups at the tensor cores.
  __device__ __forceinline__ void TakeTurn() { SyncNamed(1 + group, 256); }
  __device__ __forceinline__ void PassTurn() { ArriveNamed(1 + (group + 1) % kGroups, 256); }

  __device__ __forceinline__ void Absorb(const Work& work) {
    const auto tiles = work.Keys(params);
    const int count = tiles.Count();
    if (count == 0) return;
    float keep[2];
    Wait(&storage.q_full, q_parity);
    q_parity ^= 1;
    IssueScores();
    WaitProducts<0>();
    FenceRegisters(s);
    ReleaseKeys();
    WeighTile(tiles, 0, keep);
    PackWeights();
    bool any = AnyWeight();
    int skipped = 0;
#pragma unroll 1
    for (int i = 1; i < count; ++i) {
      TakeTurn();
      IssueScores();
      if (any) IssueValues();
      PassTurn();
      if (any) {
        WaitProducts<1>();
      } else {
        WaitProducts<0>();
      }
      FenceRegisters(s);
      ReleaseKeys();
      WeighTile(tiles, i, keep);
      WaitProducts<0>();
      FenceRegisters(o);
      ReleaseValuesOf(any, skipped);
      Rescale(keep);
      PackWeights();
      any = AnyWeight();
    }
    if (lane == 0) Arrive(&storage.q_empty);
    if (any) IssueValues();
    WaitProducts<0>();
    FenceRegisters(o);
    ReleaseValuesOf(any, skipped);
    if (kSkip && params.args.tile_counts != nullptr && threadIdx.x % 128 == 0) {
      atomicAdd(reinterpret_cast<unsigned long long*>(params.args.tile_counts), count);
      atomicAdd(reinterpret_cast<unsigned long long*>(params.args.tile_counts) + 1, skipped);
    }
  }

  // A tile whose values were not needed is given back once it has arrived.
  __device__ __forceinline__ void ReleaseValuesOf(bool any, int& skipped) {
    if (!any) {
      Wait(&storage.v_full[v_place.stage], v_place.parity);
      ++skipped;
    }
    ReleaseValues();
  }

  __device__ __forceinline__ void Finish(const Work& work) {
    const ForwardArgs& args = params.args;
    const int queries = static_cast<int>(args.shape.queries);
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
    InitBarrier(&storage.q_full, 1);
    InitBarrier(&storage.q_empty, 4 * kGroups);
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
    Consumer(params, storage, static_cast<int>(threadIdx.x) / 128 - 1).Run();
  }
}
