// The gradients of what heads learn: each query row's share, and their sum over rows in one order.
#pragma once

#include "kernels/cuda/device/params.h"
#include "kernels/cuda/device/work.cuh"

namespace attnlab {

// Sums over a row's keys that the gradients of its score map are made of.
struct MapSums {
  double score;    // dS
  double product;  // dS (q . k)
  double key;      // dS (place of the key)
};

// The share of row `query` in the gradient of learned number p: sum_j dS ds/dp + dTail/dp dden.
__device__ __forceinline__ double LearnedGradient(const Variant& variant, const BackwardArgs& args,
                                                  const Mask& mask, int batch, int head, int query,
                                                  int p, float delta, const MapSums& sums) {
  const Row<float> row = RowOf(args, mask, head, query);
  Row<Dual<float>> dual;
  dual.position = Dual<float>(row.position);
  dual.visible = Dual<float>(row.visible);
  for (int i = 0; i < kMaxLearned; ++i) {
    dual.learned[i] = {row.learned[i], i == p ? 1.0f : 0.0f};
  }
  const Affine<Dual<float>> score = RowScore<Variant, Dual<float>>(variant, dual);
  const int64_t place =
      (static_cast<int64_t>(batch) * args.shape.heads + head) * args.shape.queries + query;
  const Dual<float> tail = variant.Tail(Dual<float>(args.shift[place]), dual);
  const float denominator = args.denominator[place];
  const float tail_grad = denominator == 0.0f ? 0.0f : -delta / denominator;
  return args.scale * sums.product * score.gain.slope + sums.score * score.offset.slope -
         (row.position * sums.score - sums.key) * score.slope.slope +
         static_cast<double>(tail_grad) * tail.slope;
}

}  // namespace attnlab

// One warp a head and learned number: the sum of the parts that the query kernel left. Grid (heads,
// learned numbers).
extern "C" __global__ void __launch_bounds__(32)
    SumLearned(const __grid_constant__ attnlab::BackwardParams params) {
  const int head = blockIdx.x, p = blockIdx.y;
  const int heads = static_cast<int>(params.args.shape.heads);
  const int64_t parts = params.args.shape.batch * params.query_tiles;
  const double* from = params.learned + (static_cast<int64_t>(p) * heads + head) * parts;
  double sum = 0.0;
  for (int64_t i = threadIdx.x; i < parts; i += 32) sum += from[i];
  for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(~0u, sum, step);
  if (threadIdx.x == 0) params.args.learned_grad[p][head] = static_cast<float>(sum);
}
