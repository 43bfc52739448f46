// Softpick whose denominator counts the positive scores only.
//
//     P_ij = ReLU(e^s_ij - 1) / (sum_k ReLU(e^s_ik - 1) + epsilon e^m),  m = max(0, max_k s_ik)
#pragma once

#include "kernels/weighting.h"

namespace attnlab {

struct ReluSoftmax : Weighting {
  static constexpr WeightingText kText = {"relu_softmax",
                                          "ReLU(e^s - 1) / (sum ReLU(e^s - 1) + epsilon)",
                                          "Zuhri et al. 2025, 2504.20966, equation 5"};
  static constexpr Traits kTraits = {.shifted = true, .exact_zeros = true, .massless = true};

  float epsilon = 1e-6f;
  template <class Visitor>
  ATTNLAB_HD void ForEach(Visitor&& visit) {
    visit("epsilon", epsilon, "added to the denominator, in units of e^m");
  }

  template <class T, class C>
  ATTNLAB_HD Weights<T> Weigh(const T& s, const C& m) const {
    const T d = Relu(ExpDiff(s, m));
    return {d, d};
  }
  template <class C>
  ATTNLAB_HD C Tail(const C&, const Row<C>&) const {
    return C(epsilon);
  }
};

}  // namespace attnlab
