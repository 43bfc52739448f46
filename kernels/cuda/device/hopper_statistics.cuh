// Before the backward's products: what each query row contributes to every tile,
//
//     delta_i = dO_i . o_i      shift'_i = m_i + ln den_i      (kernels/weighting.h)
//
// With the shift law W(s, m + ln den) = W(s, m) / den, so shifted variants need no division. After
// them: the gradients of what heads learn, summed over tiles in one order.
#include "kernels/cuda/device/hopper_tiles.cuh"

namespace attnlab::hopper {

__device__ __forceinline__ float SumOfWarp(float x) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) x += __shfl_xor_sync(~0u, x, step);
  return x;
}

__device__ __forceinline__ float MaxOfWarp(float x) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(~0u, x, step));
  return x;
}

}  // namespace attnlab::hopper

// One warp a row, padded rows included; grid (rows / 8, heads, batch).
extern "C" __global__ void __launch_bounds__(256)
    HopperStatistics(const __grid_constant__ attnlab::hopper::BackwardParams params) {
  using namespace attnlab;
  using namespace attnlab::hopper;
  const BackwardArgs& args = params.args;
  const int lane = threadIdx.x % 32;
  const int query = blockIdx.x * 8 + threadIdx.x / 32;
  const int head = blockIdx.y, batch = blockIdx.z;
  const int queries = static_cast<int>(args.shape.queries);
  const int64_t place = static_cast<int64_t>(batch) * args.shape.heads + head;
  RowStatistic statistic = {kShifted ? __int_as_float(0x7f800000) : 0.0f, 0.0f, 0.0f,
                            kShifted ? 1.0f : 0.0f};
  hopper::RowMap map = {0.0f, 0.0f};
  if (query < queries) {
    const auto row_of = [&](const Operand& operand) {
      return static_cast<const Element*>(operand.data) + batch * operand.batch_stride +
             head * operand.head_stride + query * operand.row_stride;
    };
    const Element* out = row_of(args.out);
    const Element* grad = row_of(args.out_grad);
    float sum = 0.0f;
    for (int i = 2 * lane; i < kDim; i += 64) {
      const uint32_t a = *reinterpret_cast<const uint32_t*>(out + i);
      const uint32_t b = *reinterpret_cast<const uint32_t*>(grad + i);
      sum += Low<Element>(a) * Low<Element>(b) + High<Element>(a) * High<Element>(b);
    }
    statistic.delta = SumOfWarp(sum);
    const float denominator = args.denominator[place * queries + query];
    const float shift = args.shift[place * queries + query];
    if (denominator != 0.0f && kShifted) {
      statistic.shift = (shift + logf(denominator)) * kLog2E;
      statistic.exp_minus = exp2f(-statistic.shift);
    } else if (denominator != 0.0f) {
      statistic.inverse = 1.0f / denominator;
    }
    if (kMapped) {
      const Variant variant = WithConstants<Variant>(args.constants);
      const Row<float> row = RowOf(args, MaskOf(args, batch), head, query);
      const ScoreMap full = ScoreMapOf(args, variant, row);
      map = {full.gain, full.offset};
    }
  }
  if (lane == 0) {
    params.statistics[place * params.padded + query] = statistic;
    if (kMapped) params.maps[place * params.padded + query] = map;
  }
}

// The largest scores that the forward may meet (ScoreBound). One warp a group of 64 queries or a tile
// of 128 keys; grid (groups + tiles, heads, batch).
extern "C" __global__ void __launch_bounds__(32)
    HopperBounds(const __grid_constant__ attnlab::hopper::ForwardParams params) {
  using namespace attnlab;
  using namespace attnlab::hopper;
  const ForwardArgs& args = params.args;
  const int lane = threadIdx.x;
  const int head = blockIdx.y, batch = blockIdx.z;
  const int queries = static_cast<int>(args.shape.queries), keys = static_cast<int>(args.shape.keys);
  const int groups = (queries + 63) / 64;
  const auto norm = [&](const Operand& operand, int row) {
    const Element* x = static_cast<const Element*>(operand.data) + batch * operand.batch_stride +
                       head * operand.head_stride + row * operand.row_stride;
    float sum = 0.0f;
    for (int i = 0; i < kDim; i += 8) {
      const uint4 eight = *reinterpret_cast<const uint4*>(x + i);
      for (const uint32_t pair : {eight.x, eight.y, eight.z, eight.w}) {
        sum += Low<Element>(pair) * Low<Element>(pair) + High<Element>(pair) * High<Element>(pair);
      }
    }
    return sqrtf(sum);
  };
  if (static_cast<int>(blockIdx.x) < groups) {
    const int group = blockIdx.x;
    const Variant variant = WithConstants<Variant>(args.constants);
    const Mask mask = MaskOf(args, batch);
    QueryBound bound = {0.0f, kNoFloor, kNoFloor};
    for (int query = 64 * group + lane; query < min(64 * group + 64, queries); query += 32) {
      const ScoreMap map = ScoreMapOf(args, variant, RowOf(args, mask, head, query));
      bound.reach = fmaxf(bound.reach, fabsf(map.gain) * norm(args.q, query));
      bound.offset = fmaxf(bound.offset, map.offset);
      bound.slope = fmaxf(bound.slope, map.slope);
    }
    bound = {MaxOfWarp(bound.reach), MaxOfWarp(bound.offset), MaxOfWarp(bound.slope)};
    const int64_t place = (static_cast<int64_t>(batch) * args.shape.heads + head) * groups + group;
    if (lane == 0) params.query_bounds[place] = bound;
  } else if (head < args.shape.kv_heads) {
    const int tile = static_cast<int>(blockIdx.x) - groups;
    float longest = 0.0f;
    for (int key = 128 * tile + lane; key < min(128 * tile + 128, keys); key += 32) {
      longest = fmaxf(longest, norm(args.k, key));
    }
    longest = MaxOfWarp(longest);
    const int64_t place =
        (static_cast<int64_t>(batch) * args.shape.kv_heads + head) * ((keys + 127) / 128) + tile;
    if (lane == 0) params.key_bounds[place] = longest;
  }
}

// One block a head and learned number: the sum of the parts that the query kernel left.
extern "C" __global__ void __launch_bounds__(32)
    HopperLearned(const __grid_constant__ attnlab::hopper::BackwardParams params) {
  const int head = blockIdx.x, p = blockIdx.y;
  const int heads = static_cast<int>(params.args.shape.heads);
  const int parts = static_cast<int>(params.args.shape.batch) * params.query_tiles;
  const double* from = params.learned + (static_cast<int64_t>(p) * heads + head) * parts;
  double sum = 0.0;
  for (int i = threadIdx.x; i < parts; i += 32) sum += from[i];
  for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(~0u, sum, step);
  if (threadIdx.x == 0) params.args.learned_grad[p][head] = static_cast<float>(sum);
}
