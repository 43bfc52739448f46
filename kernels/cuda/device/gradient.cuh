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
  float score;   // dS = pull - mass delta
  float pull;    // W' dO . v / den
  float mass;    // M' / den
  float total;   // M / den
};

// `x` is the score after the map, or q . k if the variant has none; `dp` is dO . v.
__device__ __forceinline__ ScoreGradient GradientOf(const Variant& variant, float x, float dp,
                                                    float scale, const RowStatistic& row) {
  const Dual<Number> s = {ScoreNumber(x, scale), Number(1.0f)};
  const Shift m(row.shift * (1.0f / kLog2E), row.shift, row.exp_minus);
  const Weights<Dual<Number>> w = variant.Weigh(s, m);
  ScoreGradient gradient = {w.weight.value.value, 0.0f, w.weight.slope.Value() * dp, 0.0f, 0.0f};
  if (!Variant::kTraits.no_mass) {
    gradient.mass = w.mass.slope.Value();
    gradient.total = w.mass.value.Value();
  }
  if (!kShifted) {
    gradient.weight *= row.inverse;
    gradient.pull *= row.inverse;
    gradient.mass *= row.inverse;
    gradient.total *= row.inverse;
  }
  gradient.score = gradient.pull;
  if (!Variant::kTraits.no_mass) gradient.score -= gradient.mass * row.delta;
  return gradient;
}

}  // namespace attnlab
