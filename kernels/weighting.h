// The contract of an attention variant: how a row of scores becomes a row of weights.
//
//     out_i = sum_j W(s_ij, m_i) v_j / den_i          den_i = sum_j M(s_ij, m_i) + Tail(m_i)
//
// over the keys j that query i sees. m is a running shift: m_i = max(Floor_i, max_j s_ij) for
// shifted variants, unused by the others. The law of the shifted ones: W and M scale by e^-d when m
// grows by d, so that sums over any subset of the keys rescale and merge in any order (the online
// softmax of FlashAttention, Dao et al. 2022, 2205.14135, for all of them). Tail (a virtual sink, a
// count, an epsilon) is added once, at the end, with the final m. One backward serves every
// variant:
//
//     dS_ij = (W'_ij dO_i . v_j - M'_ij dO_i . o_i) / den_i          dV_j += W_ij / den_i dO_i
//
// m counts as a constant in it: where the law holds for Tail too the output does not depend on m,
// and a constant epsilon in Tail is a constant in units of e^m. A row whose denominator is 0 has
// output 0 and gradient 0.
//
// The raw score x_ij = scale q_i . k_j may first go through a map that is affine in each row:
//
//     s_ij = gain_i x_ij + offset_i - slope_i (query position - key position)
//
// A variant is a struct in kernels/weightings/NAME.h, listed by one line of kernels/weightings.def
// (docs/adding-a-variant.md). It is written over an abstract number T and a row constant C with the
// words of kernels/words.h: T = float or a SIMD vector in the kernels, Dual in their backward, a
// tensor in the reference.
#pragma once

#include <array>

#include "kernels/words.h"

namespace attnlab {

inline constexpr int kMaxLearned = 3;    // learned numbers a head
inline constexpr int kMaxConstants = 4;  // named constants a variant

// The Floor of a shift that only the scores set. It is finite, so that m - m is 0.
inline constexpr float kNoFloor = -1e30f;

// W and M of one score.
template <class T>
struct Weights {
  T weight;
  T mass;
};

// What a variant may know of a query row.
template <class C>
struct Row {
  C position;              // of the query in its sequence, 0 at least: query index + query offset
  C visible;               // number of keys that the row sees, 1 at least
  C learned[kMaxLearned];  // the head's learned numbers, in the order of kLearned
};

// s = gain x + offset - slope (query position - key position).
template <class C>
struct Affine {
  C gain;
  C offset;
  C slope;
};

// What a reader of the registry sees.
struct WeightingText {
  const char* name;     // in recipes, --list, config.json and tables
  const char* formula;  // weights of a row, one line
  const char* source;   // paper, arXiv number
};

struct Traits {
  bool shifted = false;      // obeys the shift law; otherwise m is not used
  bool exact_zeros = false;  // W = W' = 0 for s < 0: a tile of negative scores needs no V
  bool massless = false;     // M = M' = 0 for s < 0: with exact_zeros, such a tile needs nothing
  bool no_mass = false;      // M = 0 for every s: the denominator is Tail alone
};

// A number that each head learns. Head h starts at init * ratio^h.
struct Learned {
  const char* name;
  float init;
  float ratio;
  const char* help;
};

// The defaults of all that a variant need not say; it derives from this, and has besides
//     static constexpr WeightingText kText
//     template <class T, class C> Weights<T> Weigh(const T& s, const C& m) const
//     template <class C> Affine<C> Score(const Row<C>& row) const      if it maps the raw scores
struct Weighting {
  static constexpr Traits kTraits = {};
  static constexpr std::array<Learned, 0> kLearned = {};  // or std::to_array<Learned>({...})

  // visit(name, field, help) for each number that a recipe may set.
  template <class Visitor>
  ATTNLAB_HD void ForEach(Visitor&&) {}

  // The smallest m of a row.
  template <class C>
  ATTNLAB_HD C Floor(const Row<C>&) const {
    return C(0.0f);
  }

  // Added once to the denominator.
  template <class C>
  ATTNLAB_HD C Tail(const C&, const Row<C>&) const {
    return C(0.0f);
  }
};

template <class Variant>
concept HasScore = requires(const Variant& variant, const Row<float>& row) {
  variant.Score(row);
};

// The affine map of the raw scores of a row: the variant's own, or the identity.
template <class Variant, class C>
ATTNLAB_HD Affine<C> RowScore(const Variant& variant, const Row<C>& row) {
  if constexpr (HasScore<Variant>) {
    return variant.Score(row);
  } else {
    return {C(1.0f), C(0.0f), C(0.0f)};
  }
}

// The variant with its constants set, in the order of its ForEach.
template <class Variant>
ATTNLAB_HD Variant WithConstants(const float* constants) {
  Variant variant;
  int i = 0;
  variant.ForEach([&](const char*, float& value, const char*)
                      __attribute__((always_inline)) { value = constants[i++]; });
  return variant;
}

// The number that head `head` of a learned constant starts from.
inline float InitialValue(const Learned& learned, int head) {
  float value = learned.init;
  for (int i = 0; i < head; ++i) value *= learned.ratio;
  return value;
}

}  // namespace attnlab
