// What the blocked loops need of a variant, as functions on tiles of scores: the only code that is
// compiled once per variant (and instruction set). MakeVariantOps<Variant>() builds the table.
//
// A tile holds raw products q_i . k_j, one row a query, kTileStride apart; the functions apply the
// score map  s = gain x + base + slope c  (c = column; Affine of weighting.h with scale and
// positions folded in) and the weighting in one pass.
#pragma once

#include <cstdint>

#include "kernels/cpu/vec.h"
#include "kernels/weighting.h"

namespace attnlab::ATTNLAB_ISA {

inline constexpr int kQueryTile = 64;
inline constexpr int kKeyTile = 128;
inline constexpr int kTileStride = kKeyTile;  // floats from one row of a tile to the next

// The score map of one row in one tile of keys.
struct RowMap {
  float gain;
  float base;
  float slope;
};

struct ForwardTile {
  int rows;
  int columns;        // a multiple of kWidth
  float* scores;      // in: raw products; out: weights W
  const float* keep;  // [rows, columns] kTileStride apart: 0 where the key is hidden; null = all
  const RowMap* map;  // [rows]
  float* shift;       // [rows] m; in: before the tile, out: after
  float* mass;        // [rows] sum of M in units of e^m, likewise
  float* rescale;     // [rows] out: e^(m before - m after), what older sums shrink by
};

struct BackwardTile {
  int rows;
  int columns;
  float* scores;         // in: raw products; out: normalised weights W / den
  float* grads;          // in: dO_i . v_j; out: gradients of the raw products
  const float* keep;     // as above
  const RowMap* map;     // [rows]
  const float* shift;    // [rows] m, final
  const float* inverse;  // [rows] 1 / den, 0 for dead rows
  const float* delta;    // [rows] dO_i . o_i
  float* score_sums;     // [rows, 3] out, if learned_scores: sum_j dS, sum_j dS x, sum_j dS c
};

struct VariantOps {
  Traits traits;
  int learned;          // learned numbers a head
  bool learned_scores;  // they may change the score map

  // The score map (gain without scale) and the smallest m of `count` rows.
  void (*begin_rows)(const float* constants, const Row<float>* rows, int64_t count,
                     Affine<float>* score, float* floor);
  // Tail(m) of `count` rows.
  void (*tails)(const float* constants, const Row<float>* rows, int64_t count, const float* shift,
                float* tail);
  // False where every weight of the tile is 0.
  bool (*forward)(const float* constants, const ForwardTile& tile);
  void (*backward)(const float* constants, const BackwardTile& tile);
  // Adds to learned_grad[0..learned): the row's  sum_j dS ds/dp + tail_grad dTail/dp,  where
  // score_grad holds the gradients of gain, offset and slope.
  void (*learned_grad)(const float* constants, const Row<float>& row, float shift, float tail_grad,
                       const Affine<float>& score_grad, double* learned_grad);
};

ATTNLAB_HD Vec ScoreOf(const RowMap& map, Vec raw, Vec column) {
  return Vec(map.gain) * raw + (Vec(map.slope) * column + Vec(map.base));
}

// The largest visible score of a row, at least `floor`.
ATTNLAB_HD float RowMax(const float* raw, const float* keep, int columns, const RowMap& map,
                        float floor) {
  Vec best(floor);
  Vec column = LaneIndex();
  for (int c = 0; c < columns; c += kWidth) {
    Vec s = ScoreOf(map, Load(raw + c), column);
    if (keep != nullptr) s = Select(Load(keep + c), s, best);
    best = Max(best, s);
    column = column + Vec(static_cast<float>(kWidth));
  }
  return MaxOf(best);
}

template <class Variant>
struct OpsOf {
  static constexpr int kLearnedCount = static_cast<int>(Variant::kLearned.size());
  static constexpr bool kLearnedScores = HasScore<Variant> && kLearnedCount > 0;

  static void BeginRows(const float* constants, const Row<float>* rows, int64_t count,
                        Affine<float>* score, float* floor) {
    const Variant variant = WithConstants<Variant>(constants);
    for (int64_t i = 0; i < count; ++i) {
      score[i] = RowScore(variant, rows[i]);
      floor[i] = variant.Floor(rows[i]);
    }
  }

  static void Tails(const float* constants, const Row<float>* rows, int64_t count,
                    const float* shift, float* tail) {
    const Variant variant = WithConstants<Variant>(constants);
    for (int64_t i = 0; i < count; ++i) tail[i] = variant.Tail(shift[i], rows[i]);
  }

  template <bool kMasked>
  ATTNLAB_HD static float ForwardRow(const Variant& variant, float* scores, const float* keep,
                                     int columns, const RowMap& map, float shift, float* mass) {
    Vec mass_sum(0.0f);
    Vec weight_sum(0.0f);
    Vec column = LaneIndex();
    const Vec m(shift);
    for (int c = 0; c < columns; c += kWidth) {
      Vec s = ScoreOf(map, Load(scores + c), column);
      const Vec kept = kMasked ? Load(keep + c) : Vec(1.0f);
      if constexpr (kMasked) s = Select(kept, s, Vec(0.0f));
      Weights<Vec> w = variant.Weigh(s, m);
      if constexpr (kMasked) {
        w.weight = Select(kept, w.weight, Vec(0.0f));
        w.mass = Select(kept, w.mass, Vec(0.0f));
      }
      Store(scores + c, w.weight);
      mass_sum = mass_sum + w.mass;
      weight_sum = weight_sum + w.weight;
      column = column + Vec(static_cast<float>(kWidth));
    }
    *mass += SumOf(mass_sum);
    return SumOf(weight_sum);
  }

  static bool Forward(const float* constants, const ForwardTile& tile) {
    const Variant variant = WithConstants<Variant>(constants);
    bool any = false;
    for (int i = 0; i < tile.rows; ++i) {
      float* scores = tile.scores + i * kTileStride;
      const float* keep = tile.keep == nullptr ? nullptr : tile.keep + i * kTileStride;
      tile.rescale[i] = 1.0f;
      if constexpr (Variant::kTraits.shifted) {
        const float before = tile.shift[i];
        const float after = RowMax(scores, keep, tile.columns, tile.map[i], before);
        if (after > before) {
          tile.rescale[i] = attnlab::Exp(before - after);
          tile.mass[i] *= tile.rescale[i];
          tile.shift[i] = after;
        }
      }
      const float weight_sum = keep == nullptr
                                   ? ForwardRow<false>(variant, scores, keep, tile.columns,
                                                       tile.map[i], tile.shift[i], &tile.mass[i])
                                   : ForwardRow<true>(variant, scores, keep, tile.columns,
                                                      tile.map[i], tile.shift[i], &tile.mass[i]);
      any = any || weight_sum != 0.0f;
    }
    return any;
  }

  template <bool kMasked>
  ATTNLAB_HD static void BackwardRow(const Variant& variant, const BackwardTile& tile, int i) {
    float* scores = tile.scores + i * kTileStride;
    float* grads = tile.grads + i * kTileStride;
    const float* keep = kMasked ? tile.keep + i * kTileStride : nullptr;
    const Vec m(tile.shift[i]), inverse(tile.inverse[i]), delta(tile.delta[i]);
    const Vec gain(tile.map[i].gain);
    Vec sum(0.0f), raw_sum(0.0f), column_sum(0.0f);
    Vec column = LaneIndex();
    for (int c = 0; c < tile.columns; c += kWidth) {
      const Vec raw = Load(scores + c);
      Vec s = ScoreOf(tile.map[i], raw, column);
      const Vec kept = kMasked ? Load(keep + c) : Vec(1.0f);
      if constexpr (kMasked) s = Select(kept, s, Vec(0.0f));
      const Weights<Dual<Vec>> w = variant.Weigh(Dual<Vec>(s, Vec(1.0f)), m);
      Vec weight = w.weight.value * inverse;
      Vec grad = (w.weight.slope * Load(grads + c) - w.mass.slope * delta) * inverse;
      if constexpr (kMasked) {
        weight = Select(kept, weight, Vec(0.0f));
        grad = Select(kept, grad, Vec(0.0f));
      }
      Store(scores + c, weight);
      Store(grads + c, grad * gain);
      if constexpr (kLearnedScores) {
        sum = sum + grad;
        raw_sum = raw_sum + grad * raw;
        column_sum = column_sum + grad * column;
      }
      column = column + Vec(static_cast<float>(kWidth));
    }
    if constexpr (kLearnedScores) {
      tile.score_sums[3 * i] = SumOf(sum);
      tile.score_sums[3 * i + 1] = SumOf(raw_sum);
      tile.score_sums[3 * i + 2] = SumOf(column_sum);
    }
  }

  static void Backward(const float* constants, const BackwardTile& tile) {
    const Variant variant = WithConstants<Variant>(constants);
    for (int i = 0; i < tile.rows; ++i) {
      if (tile.keep == nullptr) {
        BackwardRow<false>(variant, tile, i);
      } else {
        BackwardRow<true>(variant, tile, i);
      }
    }
  }

  static void LearnedGrad(const float* constants, const Row<float>& row, float shift,
                          float tail_grad, const Affine<float>& score_grad, double* learned_grad) {
    if constexpr (kLearnedCount > 0) {
      const Variant variant = WithConstants<Variant>(constants);
      for (int p = 0; p < kLearnedCount; ++p) {
        Row<Dual<float>> dual;
        dual.position = Dual<float>(row.position);
        dual.visible = Dual<float>(row.visible);
        for (int i = 0; i < kMaxLearned; ++i) {
          dual.learned[i] = {row.learned[i], i == p ? 1.0f : 0.0f};
        }
        const Affine<Dual<float>> score = RowScore(variant, dual);
        const Dual<float> tail = variant.Tail(Dual<float>(shift), dual);
        learned_grad[p] += score_grad.gain * score.gain.slope +
                           score_grad.offset * score.offset.slope +
                           score_grad.slope * score.slope.slope + tail_grad * tail.slope;
      }
    }
  }
};

template <class Variant>
constexpr VariantOps MakeVariantOps() {
  using Ops = OpsOf<Variant>;
  return {Variant::kTraits, Ops::kLearnedCount, Ops::kLearnedScores, Ops::BeginRows,
          Ops::Tails,       Ops::Forward,       Ops::Backward,       Ops::LearnedGrad};
}

}  // namespace attnlab::ATTNLAB_ISA
