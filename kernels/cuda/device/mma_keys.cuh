// The backward's gradients of keys and values on sm_80 and later. A warp holds keys and their two
// gradients; query tiles of all heads that read them pass by:
//
//     S^T = K Q^T    dP^T = V dO^T    dV += P^T dO    dK += dS^T Q
//
// Scores are transposed, so that P^T and dS^T go from the accumulators of one product into the next
// as they are, warps do not wait for each other, and each sum has one order.
#include "kernels/cuda/device/gradient.cuh"
#include "kernels/cuda/device/mma_tiles.cuh"

namespace attnlab::mma {

static_assert(128 % kTile == 0);  // statistics of rows are padded to a multiple of 128

struct Storage {
  Tile<kOwnTile> k;
  Tile<kOwnTile> v;
  Tile<kTile> q[2];
  Tile<kTile> out_grad[2];
  alignas(16) RowStatistic statistics[2][kTile];
  alignas(16) RowMap maps[2][kMapped ? kTile : 1];
};

// The query tiles that a block looks at, head after head.
struct Passing {
  int head, tile;

  __device__ __forceinline__ void Next(const QueryTiles<kTile>& tiles) {
    if (++tile == tiles.end) {
      tile = tiles.begin;
      ++head;
    }
  }
};

struct Consumer {
  const BackwardParams& params;
  const BackwardArgs& args;
  Storage& storage;
  const Work& work;
  const Variant variant;
  const Mask mask;
  const int queries, keys;
  const int warp = WarpOf();
  const int lane = threadIdx.x % 32;
  const int own;  // the warp's first key

  Rows k, v;
  float slope;
  Accumulators<kDim> k_grad;
  Accumulators<kDim> v_grad;

  __device__ __forceinline__ Consumer(const BackwardParams& params, Storage& storage,
                                      const Work& work)
      : params(params),
        args(params.args),
        storage(storage),
        work(work),
        variant(WithConstants<Variant>(args.constants)),
        mask(MaskOf(args, work.batch)),
        queries(static_cast<int>(args.shape.queries)),
        keys(static_cast<int>(args.shape.keys)),
        own(work.tile * kOwnTile + warp * kWarpRows) {
    Clear(k_grad);
    Clear(v_grad);
  }

  __device__ __forceinline__ int Key(int r) const { return own + HeldRow(r); }

  __device__ __forceinline__ void Copy(const Passing& at, int stage) {
    const int first = at.tile * kTile;
    Source(args.q, work.batch, at.head, queries).Copy(storage.q[stage], first);
    Source(args.out_grad, work.batch, at.head, queries).Copy(storage.out_grad[stage], first);
    const int64_t row = (work.batch * args.shape.heads + at.head) * params.padded + first;
    CopyRows(storage.statistics[stage], params.statistics + row);
    if (kMapped) CopyRows(storage.maps[stage], params.maps + row);
    CommitCopies();
  }

  // The numbers of a tile's rows.
  template <class Number>
  static __device__ __forceinline__ void CopyRows(Number* to, const Number* from) {
    constexpr int kPerCopy = 16 / static_cast<int>(sizeof(Number));
    static_assert(kTile / kPerCopy <= kThreads);
    const int i = kPerCopy * threadIdx.x;
    if (i < kTile) CopyAsync(SharedAddress(to + i), from + i, true);
  }

  // The score of key `key` from its product with a query whose map is `map`.
  __device__ __forceinline__ float Mapped(float x, const RowMap& map, int key) const {
    return kMapped ? fmaf(x, map.gain, fmaf(slope, key, map.offset)) : x;
  }

  // Scores of stage `stage` and dO V^T to weights and gradients, packed. Columns are queries from
  // `first` on.
  template <bool kPartial>
  __device__ __forceinline__ void Weigh(const Accumulators<kTile>& s, const Accumulators<kTile>& dp,
                                        int stage, int first, Packed<kTile>& weights,
                                        Packed<kTile>& grads) {
#pragma unroll
    for (int i = 0; i < kTile / 8; ++i) {
      const int c = 8 * i + lane % 4 * 2;
      const RowStatistic rows[2] = {storage.statistics[stage][c], storage.statistics[stage][c + 1]};
      RowMap maps[2] = {{args.scale, 0.0f}, {args.scale, 0.0f}};
      if (kMapped) maps[0] = storage.maps[stage][c], maps[1] = storage.maps[stage][c + 1];
#pragma unroll
      for (int r = 0; r < kHeldRows; ++r) {
        ScoreGradient pair[2];
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const int at = r % 2 * 2 + e;
          const float x = Mapped(s[r / 2][i][at], maps[e], Key(r));
          pair[e] = GradientOf(variant, x, dp[r / 2][i][at], args.scale, rows[e]);
          if (kMapped) pair[e].score *= maps[e].gain;
          if (kPartial && !Sees(mask, first + c + e, Key(r), queries, keys)) pair[e] = {0.0f, 0.0f};
        }
        const int part = i % 2 * 2 + r % 2;
        weights[r / 2][i / 2][part] = Pack<Element, Rectifies()>(pair[0].weight, pair[1].weight);
        grads[r / 2][i / 2][part] = Pack<Element>(pair[0].score, pair[1].score);
      }
    }
  }

  // Whether a weight of the warp's keys may differ from 0.
  __device__ __forceinline__ bool AnyWeight(const Accumulators<kTile>& s, int stage) const {
    if (!kSkip) return true;
    bool any = false;
#pragma unroll
    for (int i = 0; i < kBlocks * (kTile / 8) * 4; ++i) {
      const int b = i / (kTile / 2), n = i / 4 % (kTile / 8), at = i % 4;
      float x = s[b][n][at];
      if (kMapped) {
        x = Mapped(x, storage.maps[stage][8 * n + lane % 4 * 2 + at % 2], Key(2 * b + at / 2));
      }
      any = any || !(x < 0.0f);
    }
    return __any_sync(~0u, any);
  }

  __device__ __forceinline__ void Absorb(int tile, int stage) {
    Accumulators<kTile> s, dp;
    MultiplyRows(s, k, storage.q[stage]);
    const bool used = AnyWeight(s, stage);
    if (!used && Variant::kTraits.massless) return;
    if (used) {
      MultiplyRows(dp, v, storage.out_grad[stage]);
    } else {
      Clear(dp);
    }
    Packed<kTile> weights, grads;
    if (IsPartial<kTile, kWarpRows>(mask, tile, own)) {
      Weigh<true>(s, dp, stage, tile * kTile, weights, grads);
    } else {
      Weigh<false>(s, dp, stage, tile * kTile, weights, grads);
    }
    if (used) AddWeighted(v_grad, weights, storage.out_grad[stage]);
    AddWeighted(k_grad, grads, storage.q[stage]);
  }

  __device__ __forceinline__ void Run() {
    const int first = work.tile * kOwnTile;
    const QueryTiles<kTile> tiles(mask, first, min(first + kOwnTile, keys) - 1, queries);
    const int sharing = static_cast<int>(args.shape.heads / args.shape.kv_heads);
    const int count = sharing * (tiles.end - tiles.begin);
    Passing at = {work.head * sharing, tiles.begin}, next = at;
    if (count == 0) return;
    Source(args.k, work.batch, work.head, keys).Copy(storage.k, first);
    Source(args.v, work.batch, work.head, keys).Copy(storage.v, first);
    Copy(next, 0);
#pragma unroll 1
    for (int i = 0; i < count; ++i) {
      WaitCopies<0>();
      __syncthreads();
      if (i == 0) {
        k.Load(storage.k, warp * kWarpRows);
        v.Load(storage.v, warp * kWarpRows);
      }
      next.Next(tiles);
      if (i + 1 < count) Copy(next, (i + 1) & 1);
      if (kMapped && at.tile == tiles.begin) {
        slope = RowScore<Variant, float>(variant, RowOf(args, mask, at.head, 0)).slope;
      }
      // Queries that come before all of this warp's keys see none of them.
      const bool before =
          kCausal && (at.tile + 1) * kTile + static_cast<int>(mask.query_offset) <= own;
      if (!before && own < keys) Absorb(at.tile, i & 1);
      at = next;
    }
  }

  __device__ __forceinline__ void Finish() {
#pragma unroll
    for (int r = 0; r < kHeldRows; ++r) {
      if (Key(r) >= keys) continue;
      StoreRow(k_grad, r, RowAt(args.k_grad, work.batch, work.head, Key(r)),
               kMapped ? 1.0f : args.scale);
      StoreRow(v_grad, r, RowAt(args.v_grad, work.batch, work.head, Key(r)), 1.0f);
    }
  }
};

}  // namespace attnlab::mma

extern "C" __global__ void __launch_bounds__(attnlab::mma::kThreads, attnlab::mma::kResident)
    MmaKeys(const __grid_constant__ attnlab::BackwardParams params) {
  using namespace attnlab::mma;
  extern __shared__ __align__(1024) char raw[];
  const attnlab::Work work(params.schedule, blockIdx.x, false);
  Consumer consumer(params, *reinterpret_cast<Storage*>(raw), work);
  consumer.Run();
  consumer.Finish();
}
