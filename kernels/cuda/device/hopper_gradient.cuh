// Between the products of both backward kernels: scores and dO V^T to weights and dS,
//
//     dS_ij = W'_ij dO_i . v_j - M'_ij delta_i      (divided by den_i)
//
// W' and M' from dual numbers.
#pragma once

#include "kernels/cuda/device/hopper_tiles.cuh"

namespace attnlab::hopper {

// The place of a score's query and key, and what the query row brings.
struct ScoreGradient {
  float weight;  // P; max(P, 0) if Rectifies()
  float score;   // dS
};

// `x` is the score after the map, or q . k if the variant has none; `dp` is dO . v.
__device__ __forceinline__ ScoreGradient GradientOf(const Variant& variant, float x, float dp,
                                                    float scale, const RowStatistic& row) {
  const Dual<Number> s = {ScoreNumber(x, scale), Number(1.0f)};
  const Shift m(row.shift * (1.0f / kLog2E), row.shift, row.exp_minus);
  const Weights<Dual<Number>> w = variant.Weigh(s, m);
  ScoreGradient gradient = {w.weight.value.value, w.weight.slope.Value() * dp};
  if (!Variant::kTraits.no_mass) gradient.score -= w.mass.slope.Value() * row.delta;
  if (!kShifted) {
    gradient.weight *= row.inverse;
    gradient.score *= row.inverse;
  }
  return gradient;
}

// Whether queries of 64-group g have a weight on keys of 128-tile t, as the forward left it.
struct LiveBits {
  const uint32_t* rows;  // of the head, or null
  int words;
  int groups;
  int tiles;

  __device__ __forceinline__ LiveBits(const BackwardArgs& args, int batch, int head)
      : words(static_cast<int>(LiveWords(args.shape))),
        groups(static_cast<int>(args.shape.queries + 63) / 64),
        tiles(static_cast<int>(args.shape.keys + 127) / 128) {
    rows = args.live_tiles == nullptr
               ? nullptr
               : args.live_tiles +
                     (static_cast<int64_t>(batch) * args.shape.heads + head) * groups * words;
  }
  __device__ __forceinline__ bool Any(int first_group, int count, int tile) const {
    if (rows == nullptr) return true;
    uint32_t bits = 0;
    for (int g = first_group; tile < tiles && g < min(first_group + count, groups); ++g) {
      bits |= rows[g * words + tile / 32] >> (tile % 32) & 1;
    }
    return bits != 0;
  }
};

}  // namespace attnlab::hopper
