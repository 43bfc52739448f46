// Between the products of both backward kernels: scores and dO V^T to weights and dS,
//
//     dS_ij = W'_ij dO_i . v_j - M'_ij delta_i      (divided by den_i)
//
// W' and M' from dual numbers.
#pragma once

#include "kernels/cuda/device/work.cuh"

namespace attnlab {

struct ScoreGradient {
  float weight;  // P; max(P, 0) if Rectifies()
  float score;   // dS
};

// `x` is the score after the map, or q . k if the variant has none; `dp` is dO . v.
__device__ __forceinline__ ScoreGradient GradientOf(const Variant& variant, float x, float dp,
                                                    float scale, const RowStatistic& row) {
  const Dual<Number> s = {ScoreNumber(x, scale), Number(1.0f)};
  if constexpr (kShifted) {
    const Number m(row.shift * (1.0f / kLog2E), row.shift);
    const Weights<Dual<Number>> w = variant.Weigh(s, m);
    return {w.weight.value.value, w.weight.slope.Value() * dp - w.mass.slope.Value() * row.delta};
  } else {
    const Weights<Dual<Number>> w = variant.Weigh(s, Number(0.0f));
    return {w.weight.value.value * row.shift,
            (w.weight.slope.Value() * dp - w.mass.slope.Value() * row.delta) * row.shift};
  }
}

// Whether a score of this thread is not negative: weights of negative ones are 0 (exact_zeros).
template <int kCount>
__device__ __forceinline__ bool AnyNonNegative(const float (&s)[kCount]) {
  int signs = -1;
#pragma unroll
  for (int i = 0; i < kCount; ++i) signs &= __float_as_int(s[i]);
  return signs >= 0;
}

}  // namespace attnlab
