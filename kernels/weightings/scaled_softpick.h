// Softpick of scores that grow with the logarithm of the position t (from 0); each head learns its
// factor a.
//
//     P_ij = softpick(a ln(t_i + 2) s_ij)
#pragma once

#include "kernels/weightings/softpick.h"

namespace attnlab {

struct ScaledSoftpick : Softpick {
  static constexpr WeightingText kText = {"scaled_softpick", "softpick(a ln(t + 2) s)",
                                          "Zuhri et al. 2025, 2504.20966, equations 8 and 9"};
  static constexpr auto kLearned =
      std::to_array<Learned>({{"scale", 0.3f, 1.0f, "factor a of ln(t + 2) times the scores"}});

  template <class C>
  ATTNLAB_HD Affine<C> Score(const Row<C>& row) const {
    return {row.learned[0] * Log(row.position + C(2.0f)), C(0.0f), C(0.0f)};
  }
};

}  // namespace attnlab
