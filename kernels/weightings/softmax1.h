// Softmax with a virtual key of score 0 and value 0, so that a head may attend to nothing.
//
//     P_ij = e^s_ij / (1 + sum_k e^s_ik)
#pragma once

#include "kernels/weighting.h"

namespace attnlab {

struct Softmax1 : Weighting {
  static constexpr WeightingText kText = {
      "softmax1", "e^s / (1 + sum e^s)",
      "Miller 2023, Attention Is Off By One; Kaul et al. 2024, 2410.17174"};
  static constexpr Traits kTraits = {.shifted = true};

  template <class T, class C>
  ATTNLAB_HD Weights<T> Weigh(const T& s, const C& m) const {
    const T e = Exp(s - m);
    return {e, e};
  }
  template <class C>
  ATTNLAB_HD C Tail(const C& m, const Row<C>&) const {
    return Exp(-m);
  }
};

}  // namespace attnlab
