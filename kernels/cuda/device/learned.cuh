// The gradients of what heads learn: each query row's share, and their sum over rows in one order.
#pragma once

#include "kernels/cuda/device/params.h"
#include "kernels/cuda/device/work.cuh"

namespace attnlab {

// Sums over a row's keys that the gradients of what its head learns are made of. dS = W' dP - M'
// delta is linear in delta = dO . o, and the o that the forward left is rounded, which whole rows
// of dS would not forgive: terms with W' and with M' stay apart here, and delta is the sum of P dP.
template <class F>
struct LearnedSums {
  F pull, pull_x, pull_key;  // of W' dP / den, times q . k, times the place of the key
  F mass, mass_x, mass_key;  // of M' / den, likewise
  F delta;                   // of P dP
  F total;                   // of M / den

  // `x` is q . k, `dp` is dO . v.
  template <class Gradient>
  __device__ __forceinline__ void Add(const Gradient& gradient, F x, F dp, int key) {
    const F weight = gradient.weight, pull_of = gradient.pull, mass_of = gradient.mass;
    delta += (weight > F(0) ? weight : F(0)) * dp;
    if (!Variant::kTraits.no_mass) total += gradient.total;
    if (!kMapped) return;
    pull += pull_of;
    pull_x += pull_of * x;
    pull_key += pull_of * static_cast<F>(key);
    if (Variant::kTraits.no_mass) return;
    mass += mass_of;
    mass_x += mass_of * x;
    mass_key += mass_of * static_cast<F>(key);
  }

  // Over the four threads that hold a row, in every one of them.
  __device__ __forceinline__ void AddThreads() {
    for (F* sum : {&pull, &pull_x, &pull_key, &mass, &mass_x, &mass_key, &delta, &total}) {
      *sum += __shfl_xor_sync(~0u, *sum, 1);
      *sum += __shfl_xor_sync(~0u, *sum, 2);
    }
  }
};

// slope * sum; where the variant has no such term the sum is not asked for.
template <class F>
__device__ __forceinline__ double Term(float slope, F pull, F mass, double delta) {
  if (slope == 0.0f) return 0.0;
  return slope * (static_cast<double>(pull) - static_cast<double>(mass) * delta);
}

// The share of row `query` in the gradient of learned number p: sum_j dS ds/dp + dTail/dp dden.
template <class F>
__device__ __forceinline__ double LearnedGradient(const Variant& variant, const BackwardArgs& args,
                                                  const Mask& mask, int batch, int head, int query,
                                                  int p, const LearnedSums<F>& sums) {
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
  // The sum of M / den and the tail's share is 1 but for rounding, of which exponentials of large
  // scores have some; divided by it delta is that of the quotient that these exponentials make.
  double delta = sums.delta;
  const double whole = sums.total + tail.value / denominator;
  if (!Variant::kTraits.no_mass && whole > 0.0) delta /= whole;
  // Without a learned tail delta is not asked for: a massless variant need not sum it.
  double tail_grad = 0.0;
  if (tail.slope != 0.0f && denominator != 0.0f) tail_grad = -delta / denominator * tail.slope;
  return args.scale * Term(score.gain.slope, sums.pull_x, sums.mass_x, delta) +
         Term(score.offset.slope, sums.pull, sums.mass, delta) -
         row.position * Term(score.slope.slope, sums.pull, sums.mass, delta) +
         Term(score.slope.slope, sums.pull_key, sums.mass_key, delta) + tail_grad;
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
