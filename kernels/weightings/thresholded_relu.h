// ReLU above a threshold that rises with distance: far and weak pairs get exactly 0, rows are not
// normalised (a norm on the head output belongs to it). Each head learns gain g, threshold c and
// slope l.
//
//     P_ij = ReLU(g s_ij - c - l (t_i - t_j))
#pragma once

#include "kernels/weighting.h"

namespace attnlab {

struct ThresholdedRelu : Weighting {
  static constexpr WeightingText kText = {
      "thresholded_relu", "ReLU(g s - c - l (t_i - t_j))",
      "after Zhang et al. 2021, 2104.07012, with the slopes of Press et al. 2021, 2108.12409"};
  static constexpr Traits kTraits = {.exact_zeros = true, .massless = true, .no_mass = true};
  static constexpr auto kLearned = std::to_array<Learned>({
      {"gain", 1.0f, 1.0f, "factor g of the scores"},
      {"threshold", 0.0f, 1.0f, "c, taken from every score"},
      {"slope", 0.0625f, 0.5f, "l, taken from a score for each step of distance"},
  });

  template <class C>
  ATTNLAB_HD Affine<C> Score(const Row<C>& row) const {
    return {row.learned[0], -row.learned[1], row.learned[2]};
  }
  template <class T, class C>
  ATTNLAB_HD Weights<T> Weigh(const T& s, const C&) const {
    return {Relu(s), T(0.0f)};
  }
  template <class C>
  ATTNLAB_HD C Tail(const C&, const Row<C>&) const {
    return C(1.0f);
  }
};

}  // namespace attnlab
