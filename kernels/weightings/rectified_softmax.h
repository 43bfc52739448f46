// Softmax over the scores that are not negative; a row without any attends to nothing.
//
//     P_ij = [s_ij >= 0] e^s_ij / sum_k [s_ik >= 0] e^s_ik
#pragma once

#include "kernels/weighting.h"

namespace attnlab {

struct RectifiedSoftmax : Weighting {
  static constexpr WeightingText kText = {"rectified_softmax", "[s >= 0] e^s / sum [s >= 0] e^s",
                                          "Zuhri et al. 2025, 2504.20966, appendix C"};
  static constexpr Traits kTraits = {.shifted = true, .exact_zeros = true, .massless = true};

  template <class T, class C>
  ATTNLAB_HD Weights<T> Weigh(const T& s, const C& m) const {
    const T e = IfNonNegative(s, Exp(s - m));
    return {e, e};
  }
};

}  // namespace attnlab
