// Before the backward's products: what each query row contributes to every tile. No block has added
// to any gradient of queries or taken any piece of work yet;
//
//     delta_i = dO_i . o_i      shift'_i = m_i + ln den_i      (kernels/weighting.h)
//
// With the shift law W(s, m + ln den) = W(s, m) / den, so shifted variants need no division.
#include "kernels/cuda/device/params.h"
#include "kernels/cuda/device/work.cuh"

// 16 bytes of a row a thread, rows of padding included; grid (rows / kRows, heads, batch).
extern "C" __global__ void __launch_bounds__(256)
    RowStatistics(const __grid_constant__ attnlab::BackwardParams params) {
  using namespace attnlab;
  constexpr int kThreads = ATTNLAB_HEAD_DIM / 8;  // of a row
  constexpr int kRows = 256 / kThreads;
  const BackwardArgs& args = params.args;
  const int part = threadIdx.x % kThreads;
  const int query = blockIdx.x * kRows + threadIdx.x / kThreads;
  const int head = blockIdx.y, batch = blockIdx.z;
  const int queries = static_cast<int>(args.shape.queries);
  const int64_t place = static_cast<int64_t>(batch) * args.shape.heads + head;
  RowStatistic statistic = {kShifted ? __int_as_float(0x7f800000) : 0.0f, 0.0f, 0.0f,
                            kShifted ? 1.0f : 0.0f};
  RowMap map = {0.0f, 0.0f};
  float sum = 0.0f;
  if (query < queries) {
    const auto load = [&](const Element* row) {
      return *reinterpret_cast<const uint4*>(row + 8 * part);
    };
    const uint4 outs = load(RowAt(args.out, batch, head, query));
    const uint4 grads = load(RowAt(args.out_grad, batch, head, query));
    const uint32_t a[] = {outs.x, outs.y, outs.z, outs.w};
    const uint32_t b[] = {grads.x, grads.y, grads.z, grads.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      sum += Low<Element>(a[i]) * Low<Element>(b[i]) + High<Element>(a[i]) * High<Element>(b[i]);
    }
  }
#pragma unroll
  for (int step = kThreads / 2; step > 0; step /= 2) sum += __shfl_xor_sync(~0u, sum, step);
  if (part != 0) return;
  if (query == 0 && place == 0) *params.taken = 0;
  if (query < queries) {
    statistic.delta = sum;
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
    if (params.turns != nullptr && query % params.query_tile == 0) {
      params.turns[place * params.query_tiles + query / params.query_tile] = 0;
    }
  }
  params.statistics[place * params.padded + query] = statistic;
  if (kMapped) params.maps[place * params.padded + query] = map;
}
