// One query row while it absorbs keys: the running shift m, the mass sum_j M and the sums
// sum_j W v_j, both in units of e^m. Rows of the same query over different keys merge in any order,
// which is what split-KV decoding rests on; Finish adds Tail once.
//
//     merge:  m = max(m_a, m_b),  sum = e^(m_a - m) sum_a + e^(m_b - m) sum_b,  mass likewise
#pragma once

#include "kernels/weighting.h"

namespace attnlab {

// Adds the row (from_shift, from_mass, from_sum) to (shift, mass, sum [dim]).
ATTNLAB_HD void MergeRow(bool shifted, int dim, float from_shift, float from_mass,
                         const float* from_sum, float* shift, float* mass, float* sum) {
  float keep = 1.0f, take = 1.0f;
  if (shifted && from_shift > *shift) {
    keep = Exp(*shift - from_shift);
    *shift = from_shift;
  } else if (shifted) {
    take = Exp(from_shift - *shift);
  }
  *mass = *mass * keep + from_mass * take;
  for (int i = 0; i < dim; ++i) sum[i] = sum[i] * keep + from_sum[i] * take;
}

template <class Variant>
struct RowState {
  const Variant& variant;
  const Row<float>& row;
  int dim;
  float* sum;  // [dim], zeros at first
  float shift;
  float mass = 0.0f;

  ATTNLAB_HD RowState(const Variant& variant, const Row<float>& row, int dim, float* sum)
      : variant(variant), row(row), dim(dim), sum(sum), shift(variant.Floor(row)) {
    for (int i = 0; i < dim; ++i) sum[i] = 0.0f;
  }

  // Takes in a visible key with score `s` (after the score map) and value v [dim].
  ATTNLAB_HD void Absorb(float s, const float* v) {
    if (Variant::kTraits.shifted && s > shift) {
      const float rescale = Exp(shift - s);
      shift = s;
      mass *= rescale;
      for (int i = 0; i < dim; ++i) sum[i] *= rescale;
    }
    const Weights<float> w = variant.Weigh(s, shift);
    mass += w.mass;
    for (int i = 0; i < dim; ++i) sum[i] += w.weight * v[i];
  }

  ATTNLAB_HD void Merge(const RowState& other) {
    MergeRow(Variant::kTraits.shifted, dim, other.shift, other.mass, other.sum, &shift, &mass, sum);
  }

  // Turns the sums into the output, and returns the denominator.
  ATTNLAB_HD float Finish() {
    const float denominator = mass + variant.Tail(shift, row);
    const float inverse = denominator == 0.0f ? 0.0f : 1.0f / denominator;
    for (int i = 0; i < dim; ++i) sum[i] *= inverse;
    return denominator;
  }
};

}  // namespace attnlab
