// Squared ReLU over the number n of visible keys.
//
//     P_ij = ReLU(s_ij)^2 / n_i
#pragma once

#include "kernels/weighting.h"

namespace attnlab {

struct Relu2 : Weighting {
  static constexpr WeightingText kText = {"relu2", "ReLU(s)^2 / n", "Hua et al. 2022, 2202.10447"};
  static constexpr Traits kTraits = {.exact_zeros = true, .massless = true, .no_mass = true};

  template <class T, class C>
  ATTNLAB_HD Weights<T> Weigh(const T& s, const C&) const {
    return {Square(Relu(s)), T(0.0f)};
  }
  template <class C>
  ATTNLAB_HD C Tail(const C&, const Row<C>& row) const {
    return row.visible;
  }
};

}  // namespace attnlab
