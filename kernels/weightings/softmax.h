// The baseline.
//
//     P_ij = e^s_ij / sum_k e^s_ik
#pragma once

#include "kernels/weighting.h"

namespace attnlab {

struct Softmax : Weighting {
  static constexpr WeightingText kText = {"softmax", "e^s / sum e^s",
                                          "Vaswani et al. 2017, 1706.03762"};
  static constexpr Traits kTraits = {.shifted = true};

  template <class C>
  ATTNLAB_HD C Floor(const Row<C>&) const {
    return C(kNoFloor);
  }
  template <class T, class C>
  ATTNLAB_HD Weights<T> Weigh(const T& s, const C& m) const {
    const T e = Exp(s - m);
    return {e, e};
  }
};

}  // namespace attnlab
