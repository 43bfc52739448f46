// Before the backward's products: what each query row contributes to every tile,
//
//     delta_i = dO_i . o_i      shift'_i = m_i + ln den_i      (kernels/weighting.h)
//
// With the shift law W(s, m + ln den) = W(s, m) / den, so shifted variants need no division.
#include "kernels/cuda/device/params.h"
#include "kernels/cuda/device/work.cuh"

// One warp a row, padded rows included; grid (rows / 8, heads, batch).
extern "C" __global__ void __launch_bounds__(256)
    RowStatistics(const __grid_constant__ attnlab::BackwardParams params) {
  using namespace attnlab;
  const BackwardArgs& args = params.args;
  const int lane = threadIdx.x % 32;
  const int query = blockIdx.x * 8 + threadIdx.x / 32;
  const int head = blockIdx.y, batch = blockIdx.z;
  const int queries = static_cast<int>(args.shape.queries);
  const int64_t place = static_cast<int64_t>(batch) * args.shape.heads + head;
  RowStatistic statistic = {kShifted ? __int_as_float(0x7f800000) : 0.0f, 0.0f, 0.0f,
                            kShifted ? 1.0f : 0.0f};
  RowMap map = {0.0f, 0.0f};
  if (query < queries) {
    const Element* out = RowAt(args.out, batch, head, query);
    const Element* grad = RowAt(args.out_grad, batch, head, query);
    float sum = 0.0f;
    for (int i = 2 * lane; i < ATTNLAB_HEAD_DIM; i += 64) {
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
