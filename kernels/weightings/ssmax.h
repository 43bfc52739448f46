// Scalable softmax: scores grow with the logarithm of the number n of visible keys, so that a
// longer row stays as sharp; each head learns its factor a.
//
//     P_ij = e^(a ln(n_i) s_ij) / sum_k e^(a ln(n_i) s_ik)
#pragma once

#include "kernels/weighting.h"

namespace attnlab {

struct SsMax : Weighting {
  static constexpr WeightingText kText = {"ssmax", "softmax(a ln(n) s)",
                                          "Nakanishi 2025, 2501.19399"};
  static constexpr Traits kTraits = {.shifted = true};
  static constexpr auto kLearned =
      std::to_array<Learned>({{"scale", 0.168f, 1.0f, "factor a of ln(n) times the scores"}});

  template <class C>
  ATTNLAB_HD C Floor(const Row<C>&) const {
    return C(kNoFloor);
  }
  template <class C>
  ATTNLAB_HD Affine<C> Score(const Row<C>& row) const {
    return {row.learned[0] * Log(row.visible), C(0.0f), C(0.0f)};
  }
  template <class T, class C>
  ATTNLAB_HD Weights<T> Weigh(const T& s, const C& m) const {
    const T e = Exp(s - m);
    return {e, e};
  }
};

}  // namespace attnlab
