// Softpick without the rectifier: negative scores weigh by their distance from 0 too.
//
//     P_ij = |e^s_ij - 1| / (sum_k |e^s_ik - 1| + epsilon e^m),  m = max(0, max_k s_ik)
#pragma once

#include "kernels/weighting.h"

namespace attnlab {

struct AbsSoftmax : Weighting {
  static constexpr WeightingText kText = {"abs_softmax", "|e^s - 1| / (sum |e^s - 1| + epsilon)",
                                          "Zuhri et al. 2025, code of 2504.20966"};
  static constexpr Traits kTraits = {.shifted = true};

  float epsilon = 1e-6f;
  template <class Visitor>
  ATTNLAB_HD void ForEach(Visitor&& visit) {
    visit("epsilon", epsilon, "added to the denominator, in units of e^m");
  }

  template <class T, class C>
  ATTNLAB_HD Weights<T> Weigh(const T& s, const C& m) const {
    const T d = Abs(ExpDiff(s, m));
    return {d, d};
  }
  template <class C>
  ATTNLAB_HD C Tail(const C&, const Row<C>&) const {
    return C(epsilon);
  }
};

}  // namespace attnlab
