// The backward's gradients of queries, and of what heads learn, on sm_80 and later. A warp holds
// queries and their gradient; key tiles pass by:
//
//     S = Q K^T    dP = dO V^T    dQ += dS K
//
// Scores are computed a second time (mma_keys.cuh does it first): two of seven products, against
// sums of dQ over blocks whose order would change from run to run.
#include "kernels/cuda/device/gradient.cuh"
#include "kernels/cuda/device/learned.cuh"
#include "kernels/cuda/device/mma_tiles.cuh"

namespace attnlab::mma {

struct Storage {
  Tile<kOwnTile> q;
  Tile<kOwnTile> out_grad;
  Tile<kTile> k[2];
  Tile<kTile> v[2];
  RowMap maps[kMapped ? kOwnTile : 1];
  double learned[kWarps][kMaxLearned];
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
  const int own;  // the warp's first query

  Rows q, out_grad;
  float slope;
  RowStatistic statistic[kHeldRows];
  LearnedSums<float> sums[kHeldRows];
  Accumulators<kDim> q_grad;

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
    const int64_t rows = (work.batch * args.shape.heads + work.head) * params.padded;
#pragma unroll
    for (int r = 0; r < kHeldRows; ++r) {
      const int query = min(Query(r), queries - 1);
      statistic[r] = params.statistics[rows + query];
      if (kMapped) {
        slope = ScoreMapOf(args, variant, RowOf(args, mask, work.head, query)).slope;
        if (lane % 4 == 0) storage.maps[Place(r)] = params.maps[rows + query];
      }
      sums[r] = {};
    }
    Clear(q_grad);
  }

  // Of the thread's row r: its place in the block, its query.
  __device__ __forceinline__ int Place(int r) const { return warp * kWarpRows + HeldRow(r); }
  __device__ __forceinline__ int Query(int r) const { return work.tile * kOwnTile + Place(r); }

  // Scores of tile `tile` and dO V^T to gradients, packed.
  template <bool kPartial>
  __device__ __forceinline__ void Weigh(const Accumulators<kTile>& s, const Accumulators<kTile>& dp,
                                        int tile, Packed<kTile>& grads) {
    const int column = tile * kTile + lane % 4 * 2;
#pragma unroll
    for (int r = 0; r < kHeldRows; ++r) {
      RowLimits limit = {};
      if (kPartial) {
        limit = LimitsOf(mask, min(Query(r), queries - 1), queries, keys).From(column);
      }
      RowMap map = {args.scale, 0.0f};
      if (kMapped) map = storage.maps[Place(r)];
#pragma unroll
      for (int n = 0; n < kTile / 8; ++n) {
        float pair[2];
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const int c = 8 * n + e, at = r % 2 * 2 + e;
          const float x = s[r / 2][n][at];
          const float out_dot = dp[r / 2][n][at];
          ScoreGradient gradient =
              GradientOf(variant, Mapped(x, map, column + c), out_dot, args.scale, statistic[r]);
          if (kPartial && !limit.Sees(c, column, mask.key_documents)) gradient = {};
          if (kLearns) {
            sums[r].Add(gradient, x, out_dot, column + c);
          }
          pair[e] = gradient.score;
        }
        grads[r / 2][n / 2][n % 2 * 2 + r % 2] = Pack<Element>(pair[0], pair[1]);
      }
    }
  }

  __device__ __forceinline__ float Mapped(float x, const RowMap& map, int key) const {
    return kMapped ? fmaf(x, map.gain, fmaf(slope, key, map.offset)) : x;
  }

  // Whether a weight of the warp's queries may differ from 0.
  __device__ __forceinline__ bool AnyWeight(const Accumulators<kTile>& s, int tile) const {
    if (!kSkip) return true;
    const int column = tile * kTile + lane % 4 * 2;
    bool any = false;
#pragma unroll
    for (int i = 0; i < kBlocks * (kTile / 8) * 4; ++i) {
      const int b = i / (kTile / 2), n = i / 4 % (kTile / 8), at = i % 4;
      float x = s[b][n][at];
      if (kMapped) x = Mapped(x, storage.maps[Place(2 * b + at / 2)], column + 8 * n + at % 2);
      any = any || !(x < 0.0f);
    }
    return __any_sync(~0u, any);
  }

  __device__ __forceinline__ void Absorb(int tile, int stage, bool partial) {
    Accumulators<kTile> s, dp;
    MultiplyRows(s, q, storage.k[stage]);
    const bool used = AnyWeight(s, tile);
    if (!used && Variant::kTraits.massless) return;
    if (used) {
      MultiplyRows(dp, out_grad, storage.v[stage]);
    } else {
      Clear(dp);
    }
    Packed<kTile> grads;
    if (partial) {
      Weigh<true>(s, dp, tile, grads);
    } else {
      Weigh<false>(s, dp, tile, grads);
    }
    AddWeighted(q_grad, grads, storage.k[stage]);
  }

  __device__ __forceinline__ void Run() {
    PassKeys(
        args, mask, work, own, storage,
        [&] {
          const int first = work.tile * kOwnTile;
          Source(args.q, work.batch, work.head, queries).Copy(storage.q, first);
          Source(args.out_grad, work.batch, work.head, queries).Copy(storage.out_grad, first);
        },
        [&] {
          q.Load(storage.q, warp * kWarpRows);
          out_grad.Load(storage.out_grad, warp * kWarpRows);
        },
        [&](int tile, int stage, bool partial) { Absorb(tile, stage, partial); });
  }

  // Sums over the block's rows in one order: threads of a row, rows of a warp, warps of the block.
  __device__ __forceinline__ void StoreLearned() {
    for (LearnedSums<float>& row : sums) row.AddThreads();
    constexpr int kCount = static_cast<int>(Variant::kLearned.size());
    for (int p = 0; p < kCount; ++p) {
      double grad = 0.0;
#pragma unroll
      for (int r = 0; r < kHeldRows; ++r) {
        if (Query(r) >= queries || lane % 4 != 0) continue;
        grad += LearnedGradient(variant, args, mask, work.batch, work.head, Query(r), p, sums[r]);
      }
      for (int step = 16; step > 0; step /= 2) grad += __shfl_xor_sync(~0u, grad, step);
      if (lane == 0) storage.learned[warp][p] = grad;
    }
    __syncthreads();
    const int p = static_cast<int>(threadIdx.x);
    if (p >= kCount) return;
    double total = 0.0;
    for (int i = 0; i < kWarps; ++i) total += storage.learned[i][p];
    params.learned[((p * args.shape.heads + work.head) * args.shape.batch + work.batch) *
                       params.query_tiles +
                   work.tile] = total;
  }

  __device__ __forceinline__ void Finish() {
    if (kMapped) __syncwarp();
#pragma unroll
    for (int r = 0; r < kHeldRows; ++r) {
      if (Query(r) >= queries) continue;
      StoreRow(q_grad, r, RowAt(args.q_grad, work.batch, work.head, Query(r)),
               kMapped ? storage.maps[Place(r)].gain : args.scale);
    }
    if (kLearns) StoreLearned();
  }
};

}  // namespace attnlab::mma

extern "C" __global__ void __launch_bounds__(attnlab::mma::kThreads, attnlab::mma::kResident)
    MmaQueries(const __grid_constant__ attnlab::BackwardParams params) {
  using namespace attnlab::mma;
  extern __shared__ __align__(1024) char raw[];
  const attnlab::Work work(params.schedule, blockIdx.x, attnlab::kCausal);
  Consumer consumer(params, *reinterpret_cast<Storage*>(raw), work);
  consumer.Run();
  consumer.Finish();
}
