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
  RowStatistic statistic = {kShifted ? __int_as_float(0x7f800000) : 0.0f, 0.0f};
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
    if (denominator != 0.0f) {
      statistic.shift = kShifted ? (shift + logf(denominator)) * kLog2E : 1.0f / denominator;
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
