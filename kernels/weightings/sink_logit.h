// Softmax with a virtual key whose score b each head learns and whose value is 0 (gpt-oss).
//
//     P_ij = e^s_ij / (e^b + sum_k e^s_ik)
#pragma once

#include "kernels/weighting.h"

namespace attnlab {

struct SinkLogit : Weighting {
  static constexpr WeightingText kText = {"sink_logit", "e^s / (e^b + sum e^s)",
                                          "OpenAI 2025, gpt-oss, 2508.10925"};
  static constexpr Traits kTraits = {.shifted = true};
  static constexpr auto kLearned =
      std::to_array<Learned>({{"sink_logit", 0.0f, 1.0f, "score b of the head's virtual key"}});

  template <class C>
  ATTNLAB_HD C Floor(const Row<C>& row) const {
    return row.learned[0];
  }
  template <class T, class C>
  ATTNLAB_HD Weights<T> Weigh(const T& s, const C& m) const {
    const T e = Exp(s - m);
    return {e, e};
  }
  template <class C>
  ATTNLAB_HD C Tail(const C& m, const Row<C>& row) const {
    return Exp(row.learned[0] - m);
  }
};

}  // namespace attnlab
