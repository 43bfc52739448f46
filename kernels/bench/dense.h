// Attention and its gradients as the definition says (kernels/weighting.h), one full row of scores
// at a time, in any number type: float64 is what kernels are held against, float32 shows the error
// that a plain computation has. The gradient is the closed form, W' and M' from dual numbers.
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

template <class Variant, class F>
class DenseAttention {
 public:
  // Of `problem` only shape, mask and scale are used.
  DenseAttention(const Variant& variant, const Problem& problem, const Tensors<F>& x)
      : variant_(variant), problem_(problem), shape_(problem.shape), x_(x) {}

  // Output, and gradients of sum(out * out_grad).
  Gradients<F> Run() {
    result_.out.assign(x_.out_grad.size(), F(0));
    result_.q.assign(x_.q.size(), F(0));
    result_.k.assign(x_.k.size(), F(0));
    result_.v.assign(x_.v.size(), F(0));
    result_.learned.assign(kMaxLearned * shape_.heads, F(0));
    for (int64_t b = 0; b < shape_.batch; ++b) {
      for (int64_t h = 0; h < shape_.heads; ++h) {
        for (int64_t i = 0; i < shape_.queries; ++i) RunRow(b, h, i);
      }
    }
    return std::move(result_);
  }

 private:
  static constexpr int kLearnedCount = static_cast<int>(Variant::kLearned.size());

  // One query row. Vectors have an entry for each key; hidden keys keep zeros.
  struct DenseRow {
    int64_t head;
    Row<F> row;
    std::vector<bool> sees;
    std::vector<F> raw;  // scale q . k
    std::vector<F> s;
    F shift, inverse, delta;
    const F *q, *k, *v, *out_grad;   // the row's own, and all of its key head
    F *q_out, *k_out, *v_out, *out;  // where their gradients and the output go
  };

  void RunRow(int64_t b, int64_t h, int64_t i) {
    DenseRow r;
    r.head = h;
    const int64_t query = (b * shape_.heads + h) * shape_.queries + i;
    const int64_t key = (b * shape_.kv_heads + h / (shape_.heads / shape_.kv_heads)) * shape_.keys;
    r.q = x_.q.data() + query * shape_.head_dim;
    r.k = x_.k.data() + key * shape_.head_dim;
    r.v = x_.v.data() + key * shape_.value_dim;
    r.out_grad = x_.out_grad.data() + query * shape_.value_dim;
    r.q_out = result_.q.data() + query * shape_.head_dim;
    r.k_out = result_.k.data() + key * shape_.head_dim;
    r.v_out = result_.v.data() + key * shape_.value_dim;
    r.out = result_.out.data() + query * shape_.value_dim;

    const Mask mask = problem_.mask.OfSequence(b, shape_.queries, shape_.keys);
    r.row.position = F(std::max<int64_t>(i + mask.query_offset, 0));
    r.row.visible = F(std::max<int64_t>(mask.CountVisible(i, shape_.keys), 1));
    for (int p = 0; p < kMaxLearned; ++p) r.row.learned[p] = x_.learned[p * shape_.heads + h];
    for (int64_t j = 0; j < shape_.keys; ++j) r.sees.push_back(mask.Sees(i, j, shape_.keys));
    ComputeScores(r);
    ComputeOutput(r);
    AddGradients(r);
  }

  void ComputeScores(DenseRow& r) {
    const Affine<F> score = RowScore(variant_, r.row);
    r.raw.assign(shape_.keys, F(0));
    r.s.assign(shape_.keys, F(0));
    r.shift = variant_.Floor(r.row);
    for (int64_t j = 0; j < shape_.keys; ++j) {
      if (!r.sees[j]) continue;
      F dot = 0;
      for (int64_t c = 0; c < shape_.head_dim; ++c) dot += r.q[c] * r.k[j * shape_.head_dim + c];
      r.raw[j] = F(problem_.scale) * dot;
      r.s[j] = score.gain * r.raw[j] + score.offset - score.slope * (r.row.position - F(j));
      if (Variant::kTraits.shifted) r.shift = std::max(r.shift, r.s[j]);
    }
  }

  void ComputeOutput(DenseRow& r) {
    F denominator = variant_.Tail(r.shift, r.row);
    for (int64_t j = 0; j < shape_.keys; ++j) {
      if (r.sees[j]) denominator += variant_.Weigh(r.s[j], r.shift).mass;
    }
    r.inverse = denominator == F(0) ? F(0) : F(1) / denominator;
    for (int64_t j = 0; j < shape_.keys; ++j) {
      if (!r.sees[j]) continue;
      const F weight = variant_.Weigh(r.s[j], r.shift).weight * r.inverse;
      for (int64_t c = 0; c < shape_.value_dim; ++c) {
        r.out[c] += weight * r.v[j * shape_.value_dim + c];
        r.v_out[j * shape_.value_dim + c] += weight * r.out_grad[c];
      }
    }
    r.delta = 0;
    for (int64_t c = 0; c < shape_.value_dim; ++c) r.delta += r.out[c] * r.out_grad[c];
  }

  void AddGradients(const DenseRow& r) {
    const F factor = RowScore(variant_, r.row).gain * F(problem_.scale);
    for (int64_t j = 0; j < shape_.keys; ++j) {
      if (!r.sees[j]) continue;
      F weight_grad = 0;
      for (int64_t c = 0; c < shape_.value_dim; ++c) {
        weight_grad += r.out_grad[c] * r.v[j * shape_.value_dim + c];
      }
      const auto w = variant_.Weigh(Dual<F>(r.s[j], F(1)), r.shift);
      const F weight_part = w.weight.slope * weight_grad * r.inverse;
      const F mass_part = w.mass.slope * r.delta * r.inverse;
      result_.terms = std::max({result_.terms, std::abs(weight_part), std::abs(mass_part)});
      for (int64_t c = 0; c < shape_.head_dim; ++c) {
        r.q_out[c] += (weight_part - mass_part) * factor * r.k[j * shape_.head_dim + c];
        r.k_out[j * shape_.head_dim + c] += (weight_part - mass_part) * factor * r.q[c];
      }
      for (int p = 0; p < kLearnedCount; ++p) {
        const Affine<Dual<F>> score = RowScore(variant_, Along(r.row, p));
        const F slope = score.gain.slope * r.raw[j] + score.offset.slope -
                        score.slope.slope * (r.row.position - F(j));
        AddLearned(p, r.head, (weight_part - mass_part) * slope,
                   (std::abs(weight_part) + std::abs(mass_part)) * std::abs(slope));
      }
    }
    for (int p = 0; p < kLearnedCount; ++p) {
      const Dual<F> tail = variant_.Tail(Dual<F>(r.shift, F(0)), Along(r.row, p));
      const F term = -r.delta * r.inverse * tail.slope;
      AddLearned(p, r.head, term, std::abs(term));
    }
  }

  // The row with slope 1 in learned number `p`.
  static Row<Dual<F>> Along(const Row<F>& row, int p) {
    Row<Dual<F>> dual;
    dual.position = {row.position, F(0)};
    dual.visible = {row.visible, F(0)};
    for (int i = 0; i < kMaxLearned; ++i) dual.learned[i] = {row.learned[i], F(i == p)};
    return dual;
  }

  void AddLearned(int p, int64_t head, F gradient, F size) {
    result_.learned[p * shape_.heads + head] += gradient;
    result_.learned_terms += size;
  }

  const Variant& variant_;
  const Problem& problem_;
  const Shape& shape_;
  const Tensors<F>& x_;
  Gradients<F> result_;
};

}  // namespace attnlab
