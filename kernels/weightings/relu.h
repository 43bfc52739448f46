// ReLU over the number n of visible keys.
//
//     P_ij = ReLU(s_ij) / n_i
#pragma once

#include "kernels/weighting.h"

namespace attnlab {

struct ReluWeighting : Weighting {
  static constexpr WeightingText kText = {"relu", "ReLU(s) / n",
                                          "Wortsman et al. 2023, 2309.08586"};
  static constexpr Traits kTraits = {.exact_zeros = true, .massless = true, .no_mass = true};

  template <class T, class C>
  ATTNLAB_HD Weights<T> Weigh(const T& s, const C&) const {
    return {Relu(s), T(0.0f)};
  }
  template <class C>
  ATTNLAB_HD C Tail(const C&, const Row<C>& row) const {
    return row.visible;
  }
};

}  // namespace attnlab
