// Attention as kernels/weighting.h writes it, to be read rather than timed: one warp a row, its
// lanes side by side over the dim, one key (or query) after the other, all in float32. No tile, no
// atomic sum: each number has one order of its terms.
//
// Macros beside those of rows.cuh: ATTNLAB_HEAD_DIM, ATTNLAB_VALUE_DIM, any numbers up to 256.
#include "kernels/cuda/device/learned.cuh"
#include "kernels/cuda/device/oracle_params.h"
#include "kernels/row_state.h"

namespace attnlab::oracle {

inline constexpr int kHeadDim = ATTNLAB_HEAD_DIM;
inline constexpr int kValueDim = ATTNLAB_VALUE_DIM;
inline constexpr int kWarps = 8;

// A vector of kDim numbers over a warp: lane l holds number l + 32 i as at[i], zeros past the end.
template <int kDim>
struct Vector {
  static constexpr int kParts = (kDim + 31) / 32;
  float at[kParts] = {};

  __device__ __forceinline__ void Load(const Element* row) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < kParts; ++i) {
      at[i] = lane + 32 * i < kDim ? ToFloat(row[lane + 32 * i]) : 0.0f;
    }
  }
  __device__ __forceinline__ void Store(Element* row, float factor) const {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < kParts; ++i) {
      if (lane + 32 * i < kDim) row[lane + 32 * i] = FromFloat<Element>(at[i] * factor);
    }
  }
  __device__ __forceinline__ float Dot(const Vector& other) const {
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < kParts; ++i) sum += at[i] * other.at[i];
    return SumOfWarp(sum);
  }
  __device__ __forceinline__ void Add(float factor, const Vector& other) {
#pragma unroll
    for (int i = 0; i < kParts; ++i) at[i] += factor * other.at[i];
  }
};

// The row of this warp among the rows of all heads; `index` counts them.
struct Place {
  int64_t index;
  int batch, head, row;

  __device__ __forceinline__ Place(int64_t heads, int64_t rows)
      : index(static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32),
        batch(static_cast<int>(index / rows / heads)),
        head(static_cast<int>(index / rows % heads)),
        row(static_cast<int>(index % rows)) {}
};

__device__ __forceinline__ int SharingOf(const Shape& shape) {
  return static_cast<int>(shape.heads / shape.kv_heads);
}

// The score of a key from the product x = q . k.
__device__ __forceinline__ float ScoreOf(const Affine<float>& map, float scale, float x,
                                         float position, int key) {
  if (!kMapped) return x * scale;
  return map.gain * (x * scale) + map.offset - map.slope * (position - static_cast<float>(key));
}

// P and dS of one score; `dp` is dO . v.
struct Gradient {
  float weight;
  float score;  // pull - mass delta
  float pull;
  float mass;
  float total;
};
__device__ __forceinline__ Gradient GradientOf(const Variant& variant, float s, float dp,
                                               float shift, float denominator, float delta) {
  if (denominator == 0.0f) return {};
  const Weights<Dual<float>> w = variant.Weigh(Dual<float>(s, 1.0f), shift);
  return {w.weight.value / denominator, (w.weight.slope * dp - w.mass.slope * delta) / denominator,
          w.weight.slope * dp / denominator, w.mass.slope / denominator,
          w.mass.value / denominator};
}

}  // namespace attnlab::oracle

// One warp a query. Grid: all query rows / kWarps.
extern "C" __global__ void __launch_bounds__(256)
    OracleForward(const __grid_constant__ attnlab::ForwardArgs args) {
  using namespace attnlab;
  using namespace attnlab::oracle;
  const Place at(args.shape.heads, args.shape.queries);
  if (at.batch >= args.shape.batch) return;
  const int keys = static_cast<int>(args.shape.keys);
  const int kv_head = at.head / SharingOf(args.shape);
  const Variant variant = WithConstants<Variant>(args.constants);
  const Mask mask = MaskOf(args, at.batch);
  const Row<float> row = RowOf(args, mask, at.head, at.row);
  const Affine<float> map = RowScore<Variant, float>(variant, row);
  Vector<kHeadDim> q, k;
  Vector<kValueDim> v, sum;
  q.Load(RowAt(args.q, at.batch, at.head, at.row));
  RowState<Variant> state(variant, row, sum.kParts, sum.at);
  for (int key = 0; key < mask.RowSpan(at.row, keys).end; ++key) {
    if (!mask.Sees(at.row, key, keys)) continue;
    k.Load(RowAt(args.k, at.batch, kv_head, key));
    v.Load(RowAt(args.v, at.batch, kv_head, key));
    state.Absorb(ScoreOf(map, args.scale, q.Dot(k), row.position, key), v.at);
  }
  const float denominator = state.Finish();
  sum.Store(RowAt(args.out, at.batch, at.head, at.row), 1.0f);
  if (Variant::kTraits.exact_zeros && args.live_tiles != nullptr) {
    // It leaves no tile out, and tells the backward of no tile that it may.
    const int64_t words = LiveWords(args.shape);
    const int64_t group = (static_cast<int64_t>(at.batch) * args.shape.heads + at.head) *
                              ((args.shape.queries + 63) / 64) +
                          at.row / 64;
    for (int64_t i = threadIdx.x % 32; i < words; i += 32) {
      args.live_tiles[group * words + i] = ~0u;
    }
  }
  if (args.shift != nullptr && threadIdx.x % 32 == 0) {
    args.shift[at.index] = kShifted ? state.shift : 0.0f;
    args.denominator[at.index] = denominator;
  }
}

// Likewise: the query's gradient, its record for OracleKeys, its share of learned gradients.
extern "C" __global__ void __launch_bounds__(256)
    OracleQueries(const __grid_constant__ attnlab::oracle::BackwardParams params) {
  using namespace attnlab;
  using namespace attnlab::oracle;
  const BackwardArgs& args = params.args;
  const Place at(args.shape.heads, args.shape.queries);
  if (at.batch >= args.shape.batch) return;
  const int keys = static_cast<int>(args.shape.keys);
  const int kv_head = at.head / SharingOf(args.shape);
  const Variant variant = WithConstants<Variant>(args.constants);
  const Mask mask = MaskOf(args, at.batch);
  const Row<float> row = RowOf(args, mask, at.head, at.row);
  const Affine<float> map = RowScore<Variant, float>(variant, row);
  Vector<kHeadDim> q, k, q_grad;
  Vector<kValueDim> v, out, out_grad;
  q.Load(RowAt(args.q, at.batch, at.head, at.row));
  out.Load(RowAt(args.out, at.batch, at.head, at.row));
  out_grad.Load(RowAt(args.out_grad, at.batch, at.head, at.row));
  const float delta = out_grad.Dot(out);
  LearnedSums<double> sums = {};
  for (int key = 0; key < mask.RowSpan(at.row, keys).end; ++key) {
    if (!mask.Sees(at.row, key, keys)) continue;
    k.Load(RowAt(args.k, at.batch, kv_head, key));
    v.Load(RowAt(args.v, at.batch, kv_head, key));
    const float x = q.Dot(k);
    const float dp = out_grad.Dot(v);
    const Gradient gradient =
        oracle::GradientOf(variant, ScoreOf(map, args.scale, x, row.position, key), dp,
                           args.shift[at.index], args.denominator[at.index], delta);
    q_grad.Add(gradient.score, k);
    sums.Add(gradient, x, dp, key);
  }
  q_grad.Store(RowAt(args.q_grad, at.batch, at.head, at.row), map.gain * args.scale);
  if (threadIdx.x % 32 != 0) return;
  params.rows[at.index] = {delta, map};
  for (int p = 0; p < static_cast<int>(Variant::kLearned.size()); ++p) {
    params.learned[((p * args.shape.heads + at.head) * args.shape.batch + at.batch) *
                       args.shape.queries +
                   at.row] =
        LearnedGradient(variant, args, mask, at.batch, at.head, at.row, p, sums);
  }
}

// One warp a key: its gradient and its value's. Grid: all key rows / kWarps. After OracleQueries.
extern "C" __global__ void __launch_bounds__(256)
    OracleKeys(const __grid_constant__ attnlab::oracle::BackwardParams params) {
  using namespace attnlab;
  using namespace attnlab::oracle;
  const BackwardArgs& args = params.args;
  const Place at(args.shape.kv_heads, args.shape.keys);
  if (at.batch >= args.shape.batch) return;
  const int queries = static_cast<int>(args.shape.queries);
  const int sharing = SharingOf(args.shape);
  const Variant variant = WithConstants<Variant>(args.constants);
  const Mask mask = MaskOf(args, at.batch);
  Vector<kHeadDim> q, k, k_grad;
  Vector<kValueDim> v, v_grad, out_grad;
  k.Load(RowAt(args.k, at.batch, at.head, at.row));
  v.Load(RowAt(args.v, at.batch, at.head, at.row));
  for (int head = at.head * sharing; head < (at.head + 1) * sharing; ++head) {
    const int64_t first = (at.batch * args.shape.heads + head) * queries;
    for (int query = 0; query < queries; ++query) {
      if (!mask.Sees(query, at.row, args.shape.keys)) continue;
      const RowRecord& record = params.rows[first + query];
      q.Load(RowAt(args.q, at.batch, head, query));
      out_grad.Load(RowAt(args.out_grad, at.batch, head, query));
      const float s = ScoreOf(record.map, args.scale, q.Dot(k),
                              RowOf(args, mask, head, query).position, at.row);
      const Gradient gradient =
          oracle::GradientOf(variant, s, out_grad.Dot(v), args.shift[first + query],
                             args.denominator[first + query], record.delta);
      v_grad.Add(gradient.weight, out_grad);
      k_grad.Add(gradient.score * (record.map.gain * args.scale), q);
    }
  }
  k_grad.Store(RowAt(args.k_grad, at.batch, at.head, at.row), 1.0f);
  v_grad.Store(RowAt(args.v_grad, at.batch, at.head, at.row), 1.0f);
}
