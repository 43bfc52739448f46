// Elementwise sigmoid with a bias that makes the weights of a fresh row sum to about 1.
//
//     P_ij = sigmoid(s_ij + bias - log_visible ln n_i)
#pragma once

#include "kernels/weighting.h"

namespace attnlab {

struct SigmoidWeighting : Weighting {
  static constexpr WeightingText kText = {"sigmoid", "sigmoid(s + bias - log_visible ln n)",
                                          "Ramapuram et al. 2024, 2409.04431"};
  static constexpr Traits kTraits = {.massless = true, .no_mass = true};

  float bias = 0.0f;
  float log_visible = 1.0f;
  template <class Visitor>
  ATTNLAB_HD void ForEach(Visitor&& visit) {
    visit("bias", bias, "added to every score");
    visit("log_visible", log_visible,
          "times ln n is taken from every score; 0 leaves the bias constant");
  }

  template <class C>
  ATTNLAB_HD Affine<C> Score(const Row<C>& row) const {
    return {C(1.0f), C(bias) - C(log_visible) * Log(row.visible), C(0.0f)};
  }
  template <class T, class C>
  ATTNLAB_HD Weights<T> Weigh(const T& s, const C&) const {
    return {Sigmoid(s), T(0.0f)};
  }
  template <class C>
  ATTNLAB_HD C Tail(const C&, const Row<C>&) const {
    return C(1.0f);
  }
};

}  // namespace attnlab
