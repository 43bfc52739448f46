// Attention and its gradients as the definition says, one full row of scores at a time, in any
// number type: float64 is what kernels are held against, float32 shows the error that a plain
// computation has.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/attention.h"

namespace attnlab {

// Tensors [batch, heads, rows, dim], dense.
template <class F>
struct Tensors {
  std::vector<F> q, k, v, out_grad;
  std::vector<F> learned;  // [kMaxLearned, heads]
};

template <class F>
struct Gradients {
  std::vector<F> out, q, k, v;
  std::vector<F> learned;  // [kMaxLearned, heads]
  F terms = 0;             // the largest |W' dP| / den and |M' D| / den: what cancels in dS
  F learned_terms = 0;     // the absolute terms of all learned gradients, summed
};

template <class To, class From>
std::vector<To> Convert(const std::vector<From>& from) {
  return std::vector<To>(from.begin(), from.end());
}

template <class To, class From>
Tensors<To> Convert(const Tensors<From>& from) {
  return {Convert<To>(from.q), Convert<To>(from.k), Convert<To>(from.v), Convert<To>(from.out_grad),
          Convert<To>(from.learned)};
}

template <class F>
struct DenseRow {
  std::vector<F> s;           // scores of all keys
  std::vector<Weights<F>> w;  // zeros at hidden keys
  F shift, denominator, inverse;
};

// Row `i` of head (b, h): `raw` [keys] holds scale q . k.
template <class Variant, class F>
DenseRow<F> ComputeRow(const Variant& variant, const Row<F>& row, const std::vector<bool>& sees,
                       const std::vector<F>& raw) {
  const Affine<F> score = RowScore(variant, row);
  DenseRow<F> result{std::vector<F>(raw.size()), std::vector<Weights<F>>(raw.size()),
                     variant.Floor(row), F(0), F(0)};
  for (size_t j = 0; j < raw.size(); ++j) {
    if (!sees[j]) continue;
    result.s[j] =
        score.gain * raw[j] + score.offset - score.slope * (row.position - static_cast<F>(j));
    if (Variant::kTraits.shifted) result.shift = std::max(result.shift, result.s[j]);
  }
  for (size_t j = 0; j < raw.size(); ++j) {
    if (!sees[j]) continue;
    result.w[j] = variant.Weigh(result.s[j], result.shift);
    result.denominator += result.w[j].mass;
  }
  result.denominator += variant.Tail(result.shift, row);
  result.inverse = result.denominator == F(0) ? F(0) : F(1) / result.denominator;
  return result;
}

// Output and gradients of sum(out * out_grad). Only `shape`, `mask` and `scale` of `problem` are
// used. The gradient is the closed form with W' and M' from dual numbers.
template <class Variant, class F>
Gradients<F> RunDense(const Variant& variant, const Problem& problem, const Tensors<F>& x) {
  const Shape& shape = problem.shape;
  const int64_t group = shape.heads / shape.kv_heads;
  const F scale = problem.scale;
  Gradients<F> result;
  result.out.resize(shape.batch * shape.heads * shape.queries * shape.value_dim);
  result.q.resize(x.q.size());
  result.k.resize(x.k.size());
  result.v.resize(x.v.size());
  result.learned.resize(kMaxLearned * shape.heads);
  for (int64_t bh = 0; bh < shape.batch * shape.heads; ++bh) {
    const int64_t b = bh / shape.heads, h = bh % shape.heads;
    const int64_t key_head = b * shape.kv_heads + h / group;
    const Mask mask = problem.mask.OfSequence(b, shape.queries, shape.keys);
    const F* k = &x.k[key_head * shape.keys * shape.head_dim];
    const F* v = &x.v[key_head * shape.keys * shape.value_dim];
    F* k_grad = &result.k[key_head * shape.keys * shape.head_dim];
    F* v_grad = &result.v[key_head * shape.keys * shape.value_dim];
    for (int64_t i = 0; i < shape.queries; ++i) {
      const int64_t r = bh * shape.queries + i;
      const F* q = &x.q[r * shape.head_dim];
      const F* out_grad = &x.out_grad[r * shape.value_dim];
      F* q_grad = &result.q[r * shape.head_dim];
      F* out = &result.out[r * shape.value_dim];
      std::vector<bool> sees(shape.keys);
      std::vector<F> raw(shape.keys);
      Row<Dual<F>> row;
      row.position = Dual<F>(F(std::max<int64_t>(i + mask.query_offset, 0)), F(0));
      row.visible = Dual<F>(F(std::max<int64_t>(mask.CountVisible(i, shape.keys), 1)), F(0));
      for (int p = 0; p < kMaxLearned; ++p) {
        row.learned[p] = Dual<F>(x.learned[p * shape.heads + h], F(0));
      }
      Row<F> plain{row.position.value, row.visible.value, {}};
      for (int p = 0; p < kMaxLearned; ++p) plain.learned[p] = row.learned[p].value;
      for (int64_t j = 0; j < shape.keys; ++j) {
        sees[j] = mask.Sees(i, j, shape.keys);
        F dot = 0;
        for (int64_t c = 0; c < shape.head_dim; ++c) dot += q[c] * k[j * shape.head_dim + c];
        raw[j] = scale * dot;
      }
      const DenseRow<F> dense = ComputeRow(variant, plain, sees, raw);
      F delta = 0;
      for (int64_t c = 0; c < shape.value_dim; ++c) {
        for (int64_t j = 0; j < shape.keys; ++j) {
          if (sees[j]) out[c] += dense.w[j].weight * dense.inverse * v[j * shape.value_dim + c];
        }
        delta += out[c] * out_grad[c];
      }
      const F gain = RowScore(variant, plain).gain;
      for (int64_t j = 0; j < shape.keys; ++j) {
        if (!sees[j]) continue;
        F weight_grad = 0;
        for (int64_t c = 0; c < shape.value_dim; ++c) {
          weight_grad += out_grad[c] * v[j * shape.value_dim + c];
          v_grad[j * shape.value_dim + c] += dense.w[j].weight * dense.inverse * out_grad[c];
        }
        const auto w = variant.Weigh(Dual<F>(dense.s[j], F(1)), dense.shift);
        const F weight_part = w.weight.slope * weight_grad * dense.inverse;
        const F mass_part = w.mass.slope * delta * dense.inverse;
        const F s_grad = weight_part - mass_part;
        result.terms = std::max({result.terms, std::abs(weight_part), std::abs(mass_part)});
        for (int64_t c = 0; c < shape.head_dim; ++c) {
          q_grad[c] += s_grad * gain * scale * k[j * shape.head_dim + c];
          k_grad[j * shape.head_dim + c] += s_grad * gain * scale * q[c];
        }
        for (int p = 0; p < static_cast<int>(Variant::kLearned.size()); ++p) {
          row.learned[p].slope = F(1);
          const Affine<Dual<F>> score = RowScore(variant, row);
          row.learned[p].slope = F(0);
          const F map_slope = score.gain.slope * raw[j] + score.offset.slope -
                              score.slope.slope * (plain.position - F(j));
          result.learned[p * shape.heads + h] += s_grad * map_slope;
          result.learned_terms +=
              (std::abs(weight_part) + std::abs(mass_part)) * std::abs(map_slope);
        }
      }
      for (int p = 0; p < static_cast<int>(Variant::kLearned.size()); ++p) {
        row.learned[p].slope = F(1);
        const Dual<F> tail = variant.Tail(Dual<F>(dense.shift, F(0)), row);
        row.learned[p].slope = F(0);
        const F term = delta * dense.inverse * tail.slope;
        result.learned[p * shape.heads + h] -= term;
        result.learned_terms += std::abs(term);
      }
    }
  }
  return result;
}

}  // namespace attnlab
