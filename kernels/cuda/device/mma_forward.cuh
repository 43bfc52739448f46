// Attention forward on sm_80 and later: FlashAttention-2's schedule (Dao 2023, 2307.08691) for
// every variant. Warps split the queries of a block; each keeps its rows' sums in registers while
// tiles of keys and values pass by. One barrier a tile, so that a warp's weights are computed while
// others multiply.
//
// A block does one tile of queries, long rows first, heads in sections whose keys and values fit
// into the L2 cache.
#include "kernels/cuda/device/mma_params.h"
#include "kernels/cuda/device/mma_tiles.cuh"

namespace attnlab::mma {

// The shift follows the row's maximum only where it grew by more than this, in units of log 2, so
// that sums are seldom rescaled; weights stay below 2^8 (FlashAttention-4, 2603.05451).
inline constexpr float kShiftSlack = 8.0f;

struct Storage {
  Tile<kOwnTile> q;
  Tile<kTile> k[2];
  Tile<kTile> v[2];
  RowMap maps[kMapped ? kOwnTile : 1];
};

// A warp's rows of queries while they absorb keys.
struct Consumer {
  const ForwardArgs& args;
  Storage& storage;
  const Work& work;
  const Variant variant;
  const Mask mask;
  const int queries, keys;
  const int warp = WarpOf();
  const int lane = threadIdx.x % 32;
  const int own;  // the warp's first query

  Rows q;
  float slope;               // of the score map, the same for all rows of a head
  float shift[kHeldRows];    // in use
  float highest[kHeldRows];  // maximum so far; shift trails it by less than the slack
  float mass[kHeldRows];     // this thread's columns only
  Accumulators<kDim> o;
  bool any;  // a weight of this thread's part of the tile may not be 0

  __device__ __forceinline__ Consumer(const ForwardArgs& args, Storage& storage, const Work& work)
      : args(args),
        storage(storage),
        work(work),
        variant(WithConstants<Variant>(args.constants)),
        mask(MaskOf(args, work.batch)),
        queries(static_cast<int>(args.shape.queries)),
        keys(static_cast<int>(args.shape.keys)),
        own(work.tile * kOwnTile + warp * kWarpRows) {
#pragma unroll
    for (int r = 0; r < kHeldRows; ++r) {
      const Row<float> row = RowOf(args, mask, work.head, min(Query(r), queries - 1));
      if (kMapped) {
        const ScoreMap map = ScoreMapOf(args, variant, row);
        slope = map.slope;
        if (lane % 4 == 0) storage.maps[Place(r)] = {map.gain, map.offset};
      }
      shift[r] = highest[r] = kShifted ? variant.Floor(row) : 0.0f;
      mass[r] = 0.0f;
    }
    Clear(o);
  }

  // Of the thread's row r: its place in the block, its query.
  __device__ __forceinline__ int Place(int r) const { return warp * kWarpRows + HeldRow(r); }
  __device__ __forceinline__ int Query(int r) const { return work.tile * kOwnTile + Place(r); }

  // body(column, score) for this thread's scores of its row r.
  template <class Body>
  static __device__ __forceinline__ void ForEachOf(Accumulators<kTile>& s, int r,
                                                   const Body& body) {
#pragma unroll
    for (int n = 0; n < kTile / 8; ++n) {
      body(8 * n, s[r / 2][n][r % 2 * 2]);
      body(8 * n + 1, s[r / 2][n][r % 2 * 2 + 1]);
    }
  }

  // Scores of tile `tile` to weights, in place. Older sums are rescaled.
  template <bool kPartial>
  __device__ __forceinline__ void Weigh(Accumulators<kTile>& s, int tile) {
    const int column = tile * kTile + lane % 4 * 2;
    float keep[kHeldRows];
#pragma unroll
    for (int r = 0; r < kHeldRows; ++r) {
      RowLimits limit = {};
      if (kPartial) limit = LimitsOf(mask, min(Query(r), queries - 1), queries, keys);
      if (kMapped) {
        const RowMap map = storage.maps[Place(r)];
        const float base = fmaf(slope, column, map.offset);
        ForEachOf(s, r, [&](int c, float& x) { x = fmaf(x, map.gain, fmaf(slope, c, base)); });
      }
      keep[r] = kShifted ? Advance<kPartial>(s, r, column, limit) : 1.0f;
      const Shift m(shift[r]);
      const RowLimits from = limit.From(column);
      ForEachOf(s, r, [&](int c, float& x) {
        const Weights<Number> weights = variant.Weigh(ScoreNumber(x, args.scale), m);
        const bool sees = !kPartial || from.Sees(c, column, mask.key_documents);
        x = sees ? weights.weight.value : 0.0f;
        if (!Variant::kTraits.no_mass) mass[r] += sees ? weights.mass.Value() : 0.0f;
      });
    }
    if (kShifted) Rescale(keep);
  }

  // Takes the row's new maximum in; returns what its older sums are to be multiplied with.
  template <bool kPartial>
  __device__ __forceinline__ float Advance(Accumulators<kTile>& s, int r, int column,
                                           const RowLimits& limit) {
    float top = kNoFloor;
    const RowLimits from = limit.From(column);
    ForEachOf(s, r, [&](int c, float& x) {
      top = fmaxf(top, !kPartial || from.Sees(c, column, mask.key_documents) ? x : kNoFloor);
    });
    top = fmaxf(top, __shfl_xor_sync(~0u, top, 1));
    top = fmaxf(top, __shfl_xor_sync(~0u, top, 2));
    if (!kMapped && top > kNoFloor) top *= args.scale;
    if (kSkip) any = any || top >= 0.0f;
    highest[r] = fmaxf(highest[r], top);
    if ((highest[r] - shift[r]) * kLog2E <= kShiftSlack) return 1.0f;
    const float keep = Exp2((shift[r] - highest[r]) * kLog2E);
    shift[r] = highest[r];
    mass[r] *= keep;
    return keep;
  }

  __device__ __forceinline__ void Rescale(const float (&keep)[kHeldRows]) {
    bool same = true;
#pragma unroll
    for (int r = 0; r < kHeldRows; ++r) same = same && keep[r] == 1.0f;
    if (__all_sync(~0u, same)) return;
#pragma unroll
    for (int i = 0; i < kBlocks * (kDim / 8) * 4; ++i) {
      o[i / (kDim / 2)][i / 4 % (kDim / 8)][i % 4] *= keep[i / (kDim / 2) * 2 + i / 2 % 2];
    }
  }

  __device__ __forceinline__ void PackWeights(const Accumulators<kTile>& s, Packed<kTile>& p) {
#pragma unroll
    for (int i = 0; i < kBlocks * (kTile / 16) * 4; ++i) {
      const int b = i / (kTile / 4), k = i / 4 % (kTile / 16), part = i % 4;
      const float* pair = &s[b][2 * k + part / 2][part % 2 * 2];
      p[b][k][part] = Pack<Element, Rectifies()>(pair[0], pair[1]);
      if (kSkip && !kShifted) any = any || p[b][k][part] != 0;
    }
  }

  // The tile in stage `stage`; whether its values were needed.
  __device__ __forceinline__ bool Absorb(int tile, int stage, bool partial) {
    Accumulators<kTile> s;
    Packed<kTile> p;
    MultiplyRows(s, q, storage.k[stage]);
    any = false;
    if (partial) {
      Weigh<true>(s, tile);
    } else {
      Weigh<false>(s, tile);
    }
    PackWeights(s, p);
    const bool used = !kSkip || __any_sync(~0u, any);
    if (used) AddWeighted(o, p, storage.v[stage]);
    return used;
  }

  // The words of live_tiles of a group of 64 queries of this head.
  __device__ __forceinline__ uint32_t* LiveRow(int group) const {
    const int groups = (queries + 63) / 64;
    const int64_t head = work.batch * args.shape.heads + work.head;
    return args.live_tiles + (head * groups + group) * LiveWords(args.shape);
  }
  // The block's groups of 64 queries are its own; the first barrier comes before any bit is set.
  __device__ __forceinline__ void ClearLive() const {
    static_assert(kOwnTile % 64 == 0 && 128 % kTile == 0);
    const int first = work.tile * (kOwnTile / 64);
    const int last = min(first + kOwnTile / 64, (queries + 63) / 64);
    const int words = static_cast<int>(LiveWords(args.shape)) * (last - first);
    for (int i = threadIdx.x; i < words; i += kThreads) LiveRow(first)[i] = 0;
  }
  __device__ __forceinline__ void SetLive(int tile) const {
    const int at = tile * kTile / 128;
    if (lane == 0) atomicOr(LiveRow(own / 64) + at / 32, 1u << at % 32);
  }

  __device__ __forceinline__ void Run() {
    const bool record = kSkip && args.live_tiles != nullptr;
    if (record) ClearLive();
    int seen = 0, skipped = 0;
    PassKeys(
        args, mask, work, own, storage,
        [&] {
          Source(args.q, work.batch, work.head, queries).Copy(storage.q, work.tile * kOwnTile);
        },
        [&] { q.Load(storage.q, warp * kWarpRows); },
        [&](int tile, int stage, bool partial) {
          const bool used = Absorb(tile, stage, partial);
          if (record && used) SetLive(tile);
          ++seen;
          if (!used) ++skipped;
        });
    if (kSkip && args.tile_counts != nullptr && lane == 0) {
      auto* counts = reinterpret_cast<unsigned long long*>(args.tile_counts);
      atomicAdd(counts, static_cast<unsigned long long>(seen));
      atomicAdd(counts + 1, static_cast<unsigned long long>(skipped));
    }
  }

  __device__ __forceinline__ void Finish() {
#pragma unroll
    for (int r = 0; r < kHeldRows; ++r) {
      mass[r] += __shfl_xor_sync(~0u, mass[r], 1);
      mass[r] += __shfl_xor_sync(~0u, mass[r], 2);
      const int query = Query(r);
      if (query >= queries) continue;
      const Row<float> row = RowOf(args, mask, work.head, query);
      const float last = kShifted ? Exp2((shift[r] - highest[r]) * kLog2E) : 1.0f;
      const float denominator = mass[r] * last + variant.Tail(highest[r], row);
      StoreRow(o, r, RowAt(args.out, work.batch, work.head, query),
               denominator == 0.0f ? 0.0f : last / denominator);
      if (args.shift != nullptr && lane % 4 == 0) {
        const int64_t place =
            (static_cast<int64_t>(work.batch) * args.shape.heads + work.head) * queries + query;
        args.shift[place] = kShifted ? highest[r] : 0.0f;
        args.denominator[place] = denominator;
      }
    }
  }
};

}  // namespace attnlab::mma

extern "C" __global__ void __launch_bounds__(attnlab::mma::kThreads, attnlab::mma::kResident)
    MmaForward(const __grid_constant__ attnlab::mma::ForwardParams params) {
  using namespace attnlab::mma;
  extern __shared__ __align__(1024) char raw[];
  const attnlab::Work work(params.schedule, blockIdx.x, attnlab::kCausal);
  Consumer consumer(params.args, *reinterpret_cast<Storage*>(raw), work);
  consumer.Run();
  consumer.Finish();
}
