// Attention forward on sm_90a: FlashAttention-3's schedule (Shah et al. 2024, 2407.08608) for every
// variant. One warpgroup copies tiles with the bulk tensor engine; kGroups others hold 64 query
// rows each, multiply with wgmma and take turns, so that one's weights are computed while the
// others multiply. Within a warpgroup the scores of the next tile are in flight, too.
//
// Blocks stay for the whole launch and take query tiles from a list (hopper_orders.cuh), long rows
// first, heads in sections whose keys and values fit into the L2 cache.
//
// bfloat16 and float32 have the same exponents, so that a row's shift need not follow its maximum:
// that of the first tile in which it sees a key will do as long as later scores exceed it by less
// than some dozens. A tile of queries with a row for which it did not do is computed again with
// shifts that follow.
#include "kernels/cuda/device/hopper_orders.cuh"
#include "kernels/cuda/device/hopper_skipping.cuh"

namespace attnlab::hopper {

// The shift follows the row's maximum only where it grew by more than this, in units of log 2, so
// that sums are seldom rescaled; weights stay below 2^8 (FlashAttention-4, 2603.05451).
inline constexpr float kShiftSlack = 8.0f;
// Whether a row may keep its first shift, and how large its sum may then become.
// ATTNLAB_KEEPS_SHIFT: the variant's Tail does not mind.
inline constexpr bool kKeepsShift = kShifted && Element::kBrain && ATTNLAB_KEEPS_SHIFT != 0;
inline constexpr float kMostMass = 0x1p64f;

struct alignas(1024) Storage {
  char q[kGroups][kTileBytes<64>];
  char k[kStages][kTileBytes<kKeyTile>];
  char v[kStages][kTileBytes<kKeyTile>];
  uint64_t q_full[kGroups], q_empty[kGroups];
  uint64_t k_full[kStages], k_empty[kStages];
  uint64_t v_full[kStages], v_empty[kStages];
  WorkOrders orders;
  // Whether a warp's weights of a tile hold any number but 0; two tiles in turn.
  uint8_t any_weight[2][kGroups][4];
};

__device__ void Produce(const ForwardParams& params, Storage& storage) {
  RingPlace<kStages> place;
  uint32_t q_parity = 1;
  const int sharing = static_cast<int>(params.args.shape.heads / params.args.shape.kv_heads);
  OrderGiver<kKeepsShift> orders{storage.orders};
  orders.ForEach(params.schedule.count, params.taken, [&](int index) {
    const Work work(params.schedule, index, kCausal);
    const auto keys = KeysOf<kKeyTile>(params.args, work, kQueryTile);
    auto live = BoundedKeys(params, work);
    const int kv_head = work.head / sharing;
    const auto load = [&](char* to, const TensorMap& map, uint64_t* full, uint64_t* empty, int i) {
      Wait(empty, place.parity ^ 1);
      if (!Elected()) return;
      ExpectBytes(full, kTileBytes<kKeyTile>);
      LoadTile<kKeyTile>(to, map, full, keys.Tile(i) * kKeyTile, kv_head, work.batch);
    };
    bool first = true;
    for (int i = 0; i < keys.Count(); ++i) {
      if (kBounded && !live(keys.Tile(i))) continue;
      // The first keys need not wait until the queries before are done with.
      load(storage.k[place.stage], params.k, &storage.k_full[place.stage],
           &storage.k_empty[place.stage], i);
      for (int group = 0; first && group < kGroups; ++group) {
        Wait(&storage.q_empty[group], q_parity);
        if (!Elected()) continue;
        ExpectBytes(&storage.q_full[group], kTileBytes<64>);
        LoadTile<64>(storage.q[group], params.q, &storage.q_full[group],
                     work.tile * kQueryTile + 64 * group, work.head, work.batch);
      }
      if (first) q_parity ^= 1;
      first = false;
      load(storage.v[place.stage], params.v, &storage.v_full[place.stage],
           &storage.v_empty[place.stage], i);
      place.Advance();
    }
  });
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
  OrderTaker orders;
  RingPlace<kStages> k_place, v_place;
  uint32_t q_parity = 0;
  bool careful = false;  // shifts follow their maxima

  Mask mask;
  int queries, keys;
  RowLimits limits[2];
  ScoreMap map[2];
  float shift[2];    // in use
  float highest[2];  // maximum of the tiles that were looked at; shift trails it within the slack
  float mass[2];     // this thread's columns only
  float o[kDim / 2];
  float s[kKeyTile / 2];
  uint32_t p[kKeyTile / 4];
  bool any;       // a weight of this thread may not be 0
  bool looks;     // this warp's shifts follow the maxima of the next tile
  bool rescales;  // they grew

  __device__ Consumer(const ForwardParams& params, Storage& storage, int group)
      : params(params),
        storage(storage),
        variant(WithConstants<Variant>(params.args.constants)),
        group(group),
        orders{storage.orders} {}

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
    looks = kShifted;
#pragma unroll
    for (int i = 0; i < kDim / 2; ++i) o[i] = 0.0f;
  }

  __device__ __forceinline__ void IssueScores() {
    Wait(&storage.k_full[k_place.stage], k_place.parity);
    FenceRegisters(s);
    FenceProducts();
    MultiplyRows<64, kKeyTile>(s, storage.q[group], storage.k[k_place.stage]);
    CommitProducts();
  }

  // o and p are fenced.
  __device__ __forceinline__ void IssueValues() {
    Wait(&storage.v_full[v_place.stage], v_place.parity);
    if (!kSkip) FenceProducts();
    AddWeighted<kKeyTile>(o, p, storage.v[v_place.stage]);
  }

  __device__ __forceinline__ void ReleaseKeys() {
    if (lane == 0) Arrive(&storage.k_empty[k_place.stage]);
    k_place.Advance();
  }
  __device__ __forceinline__ void ReleaseValues() {
    if (lane == 0) Arrive(&storage.v_empty[v_place.stage]);
    v_place.Advance();
  }

  // Scores of tile `tile` to weights, in place; `keep` is what older sums are to be multiplied
  // with if `rescales`.
  template <bool kPartial>
  __device__ __forceinline__ void Weigh(int tile, float (&keep)[2]) {
    const int column = tile * kKeyTile + lane % 4 * 2;
    any = rescales = false;
    const bool follows = looks;
    if (kKeepsShift && follows && !careful) looks = false;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      if (kMapped) {
        const float base = fmaf(map[r].slope, column, map[r].offset);
        ForEachOf(r,
                  [&](int c, float& x) { x = fmaf(x, map[r].gain, fmaf(map[r].slope, c, base)); });
      }
      if (kShifted && (kSkip || follows)) {
        float top = kNoFloor;
        const RowLimits limit = limits[r].From(column);
        ForEachOf(r, [&](int c, float& x) {
          top = fmaxf(top, !kPartial || limit.Sees(c, column, mask.key_documents) ? x : kNoFloor);
        });
        top = fmaxf(top, __shfl_xor_sync(~0u, top, 1));
        top = fmaxf(top, __shfl_xor_sync(~0u, top, 2));
        if (!kMapped && top > kNoFloor) top *= map[r].gain;
        if (kSkip) any = any || top >= 0.0f;
        if (follows) Follow(r, top, keep[r]);
      }
      const Shift m(shift[r]);
      const RowLimits limit = limits[r].From(column);
      ForEachOf(r, [&](int c, float& x) {
        const Weights<Number> weights = variant.Weigh(ScoreNumber(x, map[r].gain), m);
        const bool sees = !kPartial || limit.Sees(c, column, mask.key_documents);
        x = sees ? weights.weight.value : 0.0f;
        if (!Variant::kTraits.no_mass) mass[r] += sees ? weights.mass.Value() : 0.0f;
      });
    }
  }

  // Row r has a score of `top` in this tile.
  __device__ __forceinline__ void Follow(int r, float top, float& keep) {
    highest[r] = fmaxf(highest[r], top);
    keep = 1.0f;
    if ((highest[r] - shift[r]) * kLog2E > kShiftSlack) {
      keep = Exp2((shift[r] - highest[r]) * kLog2E);
      shift[r] = highest[r];
    }
    mass[r] *= keep;
    rescales = __any_sync(~0u, rescales || keep != 1.0f);
    // A row that has seen no key yet has no shift to keep.
    if (kKeepsShift) looks = __any_sync(~0u, looks || shift[r] <= kNoFloor);
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
    if (!kShifted || !rescales) return;
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

  // The place of the next tile from place i on that the block visits, or count.
  template <class Live>
  __device__ __forceinline__ int Visit(const KeyTiles<kKeyTile>& tiles, Live& live, int i) {
    while (kBounded && i < tiles.Count() && !live(tiles.Tile(i))) ++i;
    return i;
  }

  __device__ __forceinline__ void Absorb(const Work& work) {
    const auto tiles = KeysOf<kKeyTile>(params.args, work, kQueryTile);
    const int count = tiles.Count();
    auto live = BoundedKeys(params, work);
    // Of this warpgroup alone: keys below own_end are seen by some row, below own_full by all.
    const int own = work.tile * kQueryTile + group * 64;
    const int own_end = LimitsOf(mask, min(own + 63, queries - 1), queries, keys).end;
    const int own_full = LimitsOf(mask, own, queries, keys).end;
    LiveRow record(params.args, work, group, count, own_end, careful);
    int i = Visit(tiles, live, 0);
    if (i >= count) return record.Finish();
    int next = Visit(tiles, live, i + 1);
    for (; next < count && tiles.Tile(i) * kKeyTile >= own_end; next = Visit(tiles, live, i + 1)) {
      TakeTurn(group);
      PassTurn(group);
      PassKeys();
      PassValues();
      i = next;
    }
    float keep[2];
    Wait(&storage.q_full[group], q_parity);
    q_parity ^= 1;
    TakeTurn(group);
    IssueScores();
    PassTurn(group);
    WaitProducts<0>();
    FenceRegisters(s);
    ReleaseKeys();
    WeighTile(tiles, i, own_full, keep);
    PackWeights();
    Vote(0);
    int turn = 1;
#pragma unroll 1
    for (; next < count; next = Visit(tiles, live, i + 1)) {
      TakeTurn(group);
      FenceRegisters(o);
      FenceRegisters(p);
      IssueScores();
      const bool used = AnyWeight(turn - 1);
      if (used) IssueValues();
      CommitProducts();
      PassTurn(group);
      record.Add(tiles.Tile(i), used);
      i = next;
      WaitProducts<1>();
      FenceRegisters(s);
      ReleaseKeys();
      WeighTile(tiles, i, own_full, keep);
      WaitProducts<0>();
      FenceRegisters(o);
      FinishValues(used);
      Rescale(keep);
      PackWeights();
      Vote(turn++);
    }
    if (lane == 0) Arrive(&storage.q_empty[group]);
    if (kSkip) SyncNamed(8 + group, 128);
    const bool used = AnyWeight(turn - 1);
    FenceRegisters(o);
    FenceRegisters(p);
    if (kSkip) FenceProducts();
    if (used) IssueValues();
    CommitProducts();
    record.Add(tiles.Tile(i), used);
    WaitProducts<0>();
    FenceRegisters(o);
    FinishValues(used);
    record.Finish();
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
  __device__ __forceinline__ void FinishValues(bool used) {
    if (used) {
      ReleaseValues();
    } else {
      PassValues();
    }
  }

  __device__ __forceinline__ void Finish(const Work& work) {
    const ForwardArgs& args = params.args;
    Element* to[2] = {nullptr, nullptr};
    float factor[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      mass[r] += __shfl_xor_sync(~0u, mass[r], 1);
      mass[r] += __shfl_xor_sync(~0u, mass[r], 2);
      const int query = Query(work, r);
      if (query >= queries) continue;
      const Row<float> row = RowOf(args, mask, work.head, query);
      const float last = kShifted ? Exp2((shift[r] - highest[r]) * kLog2E) : 1.0f;
      const float denominator = mass[r] * last + variant.Tail(highest[r], row);
      factor[r] = denominator == 0.0f ? 0.0f : last / denominator;
      to[r] = RowAt(args.out, work.batch, work.head, query) + lane % 4 * 2;
      if (args.shift != nullptr && lane % 4 == 0) {
        const int64_t place =
            (static_cast<int64_t>(work.batch) * args.shape.heads + work.head) * queries + query;
        args.shift[place] = kShifted ? highest[r] : 0.0f;
        args.denominator[place] = denominator;
      }
    }
    StoreRows(o, to, factor);
    if (kKeepsShift && !careful && __any_sync(~0u, !ShiftsDid()) && lane == 0) orders.AskAgain();
  }

  // Whether nothing of this thread's rows came near the end of the numbers.
  __device__ __forceinline__ bool ShiftsDid() const {
    float nothing = 0.0f;  // or NaN
#pragma unroll
    for (int i = 0; i < kDim / 2; ++i) nothing = fmaf(o[i], 0.0f, nothing);
    return mass[0] <= kMostMass && mass[1] <= kMostMass && nothing == 0.0f;
  }

  __device__ void Run() {
    if (group == kGroups - 1) PassTurn(group);
    orders.ForEach([&](int index, bool again) {
      careful = again;
      const Work work(params.schedule, index, kCausal);
      Begin(work);
      Absorb(work);
      Finish(work);
    });
  }
};

}  // namespace attnlab::hopper

extern "C" __global__ void __launch_bounds__(attnlab::hopper::kThreads, 1)
    HopperForward(const __grid_constant__ attnlab::hopper::ForwardParams params) {
  using namespace attnlab::hopper;
  extern __shared__ char raw[];
  Storage& storage = SharedAs<Storage>(raw);
  if (threadIdx.x == 0) {
    InitRing(storage.q_full, storage.q_empty, 4);
    InitRing(storage.k_full, storage.k_empty, 4 * kGroups);
    InitRing(storage.v_full, storage.v_empty, 4 * kGroups);
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
