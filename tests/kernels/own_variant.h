// The variant of docs/adding-a-variant.md, known to the tests only: softmax with a temperature that
// each head learns and a constant c for attending to nothing.
//
//     P_ij = e^(beta s_ij) / (c + sum_k e^(beta s_ik))
#pragma once

#include "kernels/weighting.h"

namespace attnlab::testing {

struct TemperedSoftmax : Weighting {
  static constexpr WeightingText kText = {"tempered_softmax", "e^(beta s) / (c + sum e^(beta s))",
                                          "docs/adding-a-variant.md"};
  static constexpr Traits kTraits = {.shifted = true};
  static constexpr auto kLearned =
      std::to_array<Learned>({{"beta", 0.8f, 1.0f, "inverse temperature of the head"}});

  float nothing = 0.25f;
  template <class Visitor>
  ATTNLAB_HD void ForEach(Visitor&& visit) {
    visit("nothing", nothing, "the weight c of attending to nothing");
  }

  template <class C>
  ATTNLAB_HD Affine<C> Score(const Row<C>& row) const {
    return {row.learned[0], C(0.0f), C(0.0f)};
  }
  template <class T, class C>
  ATTNLAB_HD Weights<T> Weigh(const T& s, const C& m) const {
    const T e = Exp(s - m);
    return {e, e};
  }
  template <class C>
  ATTNLAB_HD C Tail(const C& m, const Row<C>&) const {
    return C(nothing) * Exp(-m);
  }
};

}  // namespace attnlab::testing
