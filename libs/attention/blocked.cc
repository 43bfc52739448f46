#include "libs/attention/blocked.h"

#include <ATen/ops/addcmul.h>
#include <ATen/ops/baddbmm.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <functional>
#include <memory>

#include "libs/attention/rows.h"
#include "libs/attention/tensor_weighting.h"

namespace attnlab {
namespace {

// Bytes of one block of scores, and query rows in it: on a GPU enough to fill it and to hide the
// launches, on a CPU what its caches hold.
constexpr int64_t kGpuBlockBytes = int64_t{256} << 20;
constexpr int64_t kCpuBlockBytes = int64_t{2} << 20;
constexpr int64_t kGpuRows = 128;
constexpr int64_t kCpuRows = 64;

// Scores [n, G, rows, cols] of `n` key heads and their G query heads each.
struct Block {
  at::Tensor q;  // [n, G * rows, D]
  at::Tensor k;  // [n, cols, D]
  at::Tensor v;  // [n, cols, Dv]
  const Visibility* visibility;
  Row<Field> row;
  int64_t head_begin, head_end;  // of the N key heads of the batch
  int64_t row_begin, row_end;
  int64_t groups;

  // The block's part of a tensor [N, G, T, ...] of query rows, [n, G, rows, ...].
  at::Tensor Rows(const at::Tensor& all) const {
    return all.slice(0, head_begin, head_end).slice(2, row_begin, row_end);
  }
  // The block's part of a tensor [N, S, ...] of keys, [n, cols, ...].
  at::Tensor Keys(const at::Tensor& all) const {
    return all.slice(0, head_begin, head_end).slice(1, visibility->key_begin, visibility->key_end);
  }
  // [n, G * rows, x] as [n, G, rows, x], and back.
  at::Tensor Split(const at::Tensor& flat) const { return flat.unflatten(1, {groups, -1}); }
};

// The operands of a call with heads folded into N = B Hkv batches, and the loop over its blocks.
class Blocked {
 public:
  Blocked(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
          const AttentionOptions& options, const std::vector<at::Tensor>& head_parameters)
      : options_(options),
        weighting_(MakeTensorWeighting(options)),
        mixed_(q.is_cuda() && q.scalar_type() == at::kBFloat16),
        type_(mixed_ ? at::kBFloat16 : StatisticsType(q)),
        groups_(q.size(1) / k.size(1)),
        scale_(ScaleOf(options, q.size(3))),
        q_(FoldQueries(q)),
        k_(FoldKeys(k)),
        v_(FoldKeys(v)) {
    for (const at::Tensor& parameter : head_parameters) {
      learned_.push_back(
          parameter.to(StatisticsType(q)).repeat({q.size(0)}).view({k_.size(0), groups_, 1, 1}));
    }
    // What the formula gives for a hidden key; where that is not 0, blocks are hidden once more
    // after it.
    const Weights<Dual<Field>> none = weighting_->WeighDual(Field(kNoFloor), Field());
    hide_weight_ = !none.weight.value.is_zero();
    hide_mass_ = !none.mass.value.is_zero();
    hide_slopes_ = !none.weight.slope.is_zero() || !none.mass.slope.is_zero();
  }

  BlockedOutput Forward() const;
  AttentionGradients Backward(const at::Tensor& out_grad, const BlockedOutput& forward) const;

 private:
  at::Tensor FoldQueries(const at::Tensor& t) const {  // [B, H, T, x] -> [N, G, T, x]
    return t.to(type_).contiguous().view({-1, groups_, t.size(2), t.size(3)});
  }
  at::Tensor FoldKeys(const at::Tensor& t) const {  // [B, Hkv, S, x] -> [N, S, x]
    return t.to(type_).contiguous().view({-1, t.size(2), t.size(3)});
  }
  at::TensorOptions Statistics() const { return q_.options().dtype(mixed_ ? at::kFloat : type_); }

  void ForEachBlock(const std::function<void(const Block&)>& body) const;

  // alpha a b in the dtype of statistics; a [n, i, j], b [n, j, k].
  at::Tensor Product(const at::Tensor& a, const at::Tensor& b, double alpha = 1) const;
  // sum += alpha a b.
  void AddProduct(const at::Tensor& sum, const at::Tensor& a, const at::Tensor& b,
                  double alpha = 1) const;

  Field Scores(const Block& block) const;
  Field Shift(const Block& block, const Field& scores) const;
  // [n, G, rows, cols] as an operand [n, G * rows, cols] of a product.
  at::Tensor AsOperand(const at::Tensor& t) const { return t.to(type_).flatten(1, 2); }

  at::Tensor ScoreGradient(Weights<Dual<Field>> weights, Field value_dot,
                           const at::Tensor& out_dot) const;
  void BackwardBlock(const Block& block, const at::Tensor& out_grad, const at::Tensor& out_dot,
                     const at::Tensor& shift, const at::Tensor& reciprocal,
                     const AttentionGradients& sums) const;
  void AddLearnedGradients(const Block& block, const Field& shift, const at::Tensor& score_grad,
                           const at::Tensor& query_sums, const at::Tensor& out_dot,
                           const std::vector<at::Tensor>& sums) const;

  const AttentionOptions& options_;
  std::unique_ptr<const TensorWeighting> weighting_;
  bool mixed_;  // bfloat16 operands, float32 results
  at::ScalarType type_;
  int64_t groups_;
  double scale_;
  at::Tensor q_;                     // [N, G, T, D]
  at::Tensor k_;                     // [N, S, D]
  at::Tensor v_;                     // [N, S, Dv]
  std::vector<at::Tensor> learned_;  // each [N, G, 1, 1]
  bool hide_weight_, hide_mass_, hide_slopes_;
};

void Blocked::ForEachBlock(const std::function<void(const Block&)>& body) const {
  const int64_t heads = q_.size(0), queries = q_.size(2), keys = k_.size(1);
  const int64_t rows = std::min(queries, q_.is_cuda() ? kGpuRows : kCpuRows);
  const int64_t bytes =
      groups_ * rows * keys * static_cast<int64_t>(Statistics().dtype().itemsize());
  const int64_t chunk = std::clamp<int64_t>(
      (q_.is_cuda() ? kGpuBlockBytes : kCpuBlockBytes) / std::max<int64_t>(bytes, 1), 1, heads);
  const at::Tensor like = at::empty({0}, Statistics());
  for (int64_t row = 0; row < queries; row += rows) {
    const int64_t row_end = std::min(row + rows, queries);
    const Visibility visibility = VisibilityOf(options_, queries, keys, row, row_end, like);
    for (int64_t head = 0; head < heads; head += chunk) {
      Block block;
      block.visibility = &visibility;
      block.head_begin = head;
      block.head_end = std::min(head + chunk, heads);
      block.row_begin = row;
      block.row_end = row_end;
      block.groups = groups_;
      block.q = block.Rows(q_).flatten(1, 2);
      block.k = block.Keys(k_);
      block.v = block.Keys(v_);
      std::vector<at::Tensor> learned;
      for (const at::Tensor& t : learned_) learned.push_back(t.slice(0, head, block.head_end));
      block.row = RowOf(visibility, learned);
      body(block);
    }
  }
}

at::Tensor Blocked::Product(const at::Tensor& a, const at::Tensor& b, double alpha) const {
  if (alpha == 1) return mixed_ ? at::bmm(a, b, at::kFloat) : at::bmm(a, b);
  at::Tensor out = at::empty({a.size(0), a.size(1), b.size(2)}, Statistics());
  if (mixed_) return at::baddbmm_out(out, out, a, b, at::kFloat, /*beta=*/0, alpha);
  return at::baddbmm_out(out, out, a, b, /*beta=*/0, alpha);
}

void Blocked::AddProduct(const at::Tensor& sum, const at::Tensor& a, const at::Tensor& b,
                         double alpha) const {
  at::Tensor out = sum;
  if (mixed_) {
    at::baddbmm_out(out, out, a, b, at::kFloat, /*beta=*/1, alpha);
  } else {
    at::baddbmm_out(out, out, a, b, /*beta=*/1, alpha);
  }
}

Field Blocked::Scores(const Block& block) const {
  const Affine<Field> affine = weighting_->Score(block.row);
  Field scores(block.Split(Product(block.q, block.k.transpose(1, 2), scale_)));
  scores = affine.gain * std::move(scores) + affine.offset;
  if (!affine.slope.is_zero()) {
    const at::Tensor distance =
        DistanceTo(*block.visibility, block.visibility->key_begin, block.visibility->key_end);
    scores.tensor().addcmul_(TensorOf(affine.slope, distance), distance, -1);
  }
  block.visibility->Hide(scores.tensor(), kNoFloor);
  return scores;
}

Field Blocked::Shift(const Block& block, const Field& scores) const {
  if (!weighting_->shifted()) return Field();
  const at::Tensor top = scores.tensor().amax(-1, /*keepdim=*/true);
  const Field floor = weighting_->Floor(block.row);
  return Field(floor.is_constant() ? top.clamp_min(floor.constant())
                                   : at::maximum(top, floor.tensor()));
}

BlockedOutput Blocked::Forward() const {
  const int64_t heads = q_.size(0), queries = q_.size(2);
  BlockedOutput result;
  result.out = at::empty({heads, groups_, queries, v_.size(2)}, q_.options());
  result.denominator = at::empty({heads, groups_, queries}, Statistics());
  if (weighting_->shifted()) result.shift = at::empty_like(result.denominator);
  ForEachBlock([&](const Block& block) {
    Weights<Field> weights;
    Field shift;
    {
      const Field scores = Scores(block);
      shift = Shift(block, scores);
      weights = weighting_->Weigh(scores, shift);
    }
    if (hide_weight_) block.visibility->Hide(weights.weight.tensor(), 0);
    if (hide_mass_ && !weights.mass.is_constant()) {
      block.visibility->Hide(weights.mass.tensor(), 0);
    }
    const at::Tensor denominator = block.Rows(result.denominator).unsqueeze(-1);  // [n, G, rows, 1]
    denominator.copy_(TensorOf(
        SumOf(weights.mass, block.row.visible) + weighting_->Tail(shift, block.row), denominator));
    if (result.shift.defined()) block.Rows(result.shift).copy_(shift.tensor().squeeze(-1));
    const at::Tensor sums = block.Split(Product(AsOperand(weights.weight.tensor()), block.v));
    block.Rows(result.out).copy_(sums.mul_(ReciprocalOf(denominator)));
  });
  return result;
}

// dS = W' dP - M' d, with dP = dO/den . v and d = dO/den . o, as an operand of the products that
// follow: the last operation writes their dtype, and equal slopes are multiplied once.
at::Tensor Blocked::ScoreGradient(Weights<Dual<Field>> weights, Field value_dot,
                                  const at::Tensor& out_dot) const {
  Field weight = std::move(weights.weight.slope), mass = std::move(weights.mass.slope);
  weights = {};
  if (weight.is_same(mass)) {
    value_dot = std::move(value_dot) - Field(out_dot);
    mass = Field();
  }
  const bool narrow = mixed_ && !weight.is_constant();
  if (mass.is_zero()) {
    if (!narrow) return (std::move(weight) * std::move(value_dot)).tensor().to(type_);
    at::Tensor out = at::empty(weight.tensor().sizes(), q_.options());
    return at::mul_out(out, weight.tensor(), value_dot.tensor());
  }
  const at::Tensor product = (std::move(weight) * std::move(value_dot)).tensor();
  at::Tensor out = narrow ? at::empty(product.sizes(), q_.options()) : product;
  return at::addcmul_out(out, product, TensorOf(mass, out_dot), out_dot, -1);
}

void Blocked::BackwardBlock(const Block& block, const at::Tensor& out_grad,
                            const at::Tensor& out_dot, const at::Tensor& shift,
                            const at::Tensor& reciprocal, const AttentionGradients& sums) const {
  const Field m = shift.defined() ? Field(block.Rows(shift)) : Field();
  Weights<Dual<Field>> weights = weighting_->WeighDual(Scores(block), m);
  if (hide_weight_) block.visibility->Hide(weights.weight.value.tensor(), 0);

  const at::Tensor inverse = block.Rows(reciprocal);
  const at::Tensor row_grad = AsOperand(block.Rows(out_grad).mul(inverse));  // dO / den
  const at::Tensor row_dot = block.Rows(out_dot).mul(inverse);               // dO / den . o
  AddProduct(block.Keys(sums.v), AsOperand(weights.weight.value.tensor()).transpose(1, 2),
             row_grad);

  Field value_dot(block.Split(Product(row_grad, block.v.transpose(1, 2))));
  const at::Tensor score_grad = ScoreGradient(std::move(weights), std::move(value_dot), row_dot);
  if (hide_slopes_) block.visibility->Hide(score_grad, 0);

  const Field gain = weighting_->Score(block.row).gain;
  const at::Tensor operand = AsOperand(score_grad);
  const at::Tensor query_sums = block.Split(Product(operand, block.k, scale_));
  block.Rows(sums.q).copy_((Field(query_sums) * gain).tensor());
  const at::Tensor gained = AsOperand((Field(block.Split(block.q)) * gain).tensor());
  AddProduct(block.Keys(sums.k), operand.transpose(1, 2), gained, scale_);
  AddLearnedGradients(block, m, score_grad, query_sums, row_dot, sums.learned);
}

// With s = gain x + offset - slope distance: sum_j dS x of a row is q . (scale sum_j dS k), which
// stands in query_sums.
void Blocked::AddLearnedGradients(const Block& block, const Field& shift,
                                  const at::Tensor& score_grad, const at::Tensor& query_sums,
                                  const at::Tensor& out_dot,
                                  const std::vector<at::Tensor>& sums) const {
  for (size_t i = 0; i < sums.size(); ++i) {
    const int index = static_cast<int>(i);
    const Affine<Dual<Field>> affine = weighting_->ScoreDual(block.row, index);
    Field grad = -(Field(out_dot) * weighting_->TailDual(shift, block.row, index).slope);
    if (!affine.gain.slope.is_zero()) {
      const at::Tensor raw_dot = query_sums.mul(block.Split(block.q)).sum(-1, /*keepdim=*/true);
      grad = grad + affine.gain.slope * Field(raw_dot);
    }
    if (!affine.offset.slope.is_zero()) {
      grad = grad +
             affine.offset.slope *
                 Field(score_grad.sum(-1, /*keepdim=*/true, Statistics().dtype().toScalarType()));
    }
    if (!affine.slope.slope.is_zero()) {
      const at::Tensor distance =
          DistanceTo(*block.visibility, block.visibility->key_begin, block.visibility->key_end);
      const at::Tensor dot = score_grad.mul(distance).sum(-1, /*keepdim=*/true);
      grad = grad - affine.slope.slope * Field(dot);
    }
    if (grad.is_zero()) continue;
    sums[i].slice(0, block.head_begin, block.head_end).add_(grad.tensor().sum({2, 3}));
  }
}

AttentionGradients Blocked::Backward(const at::Tensor& out_grad,
                                     const BlockedOutput& forward) const {
  const at::Tensor grad = FoldQueries(out_grad);
  const at::ScalarType statistics = Statistics().dtype().toScalarType();
  const at::Tensor out = forward.out.reshape(grad.sizes());
  const at::Tensor out_dot = grad.to(statistics).mul(out).sum(-1, /*keepdim=*/true);
  const at::IntArrayRef rows = out_dot.sizes();
  const at::Tensor reciprocal = ReciprocalOf(forward.denominator.reshape(rows));
  const at::Tensor shift = forward.shift.defined() ? forward.shift.reshape(rows) : at::Tensor();

  AttentionGradients sums;
  sums.q = at::empty_like(q_);
  sums.k = at::zeros(k_.sizes(), Statistics());
  sums.v = at::zeros(v_.sizes(), Statistics());
  for (size_t i = 0; i < learned_.size(); ++i) {
    sums.learned.push_back(at::zeros({q_.size(0), groups_}, Statistics()));
  }
  ForEachBlock(
      [&](const Block& block) { BackwardBlock(block, grad, out_dot, shift, reciprocal, sums); });
  return sums;
}

}  // namespace

BlockedOutput BlockedForward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                             const AttentionOptions& options,
                             const std::vector<at::Tensor>& head_parameters) {
  const c10::AutoGradMode no_grad(false);
  BlockedOutput result = Blocked(q, k, v, options, head_parameters).Forward();
  const int64_t batch = q.size(0), heads = q.size(1), queries = q.size(2);
  result.out = result.out.view({batch, heads, queries, v.size(3)}).to(q.scalar_type());
  result.denominator = result.denominator.view({batch, heads, queries});
  if (result.shift.defined()) result.shift = result.shift.view({batch, heads, queries});
  return result;
}

AttentionGradients BlockedBackward(const at::Tensor& out_grad, const at::Tensor& q,
                                   const at::Tensor& k, const at::Tensor& v,
                                   const BlockedOutput& forward, const AttentionOptions& options,
                                   const std::vector<at::Tensor>& head_parameters) {
  const c10::AutoGradMode no_grad(false);
  AttentionGradients sums = Blocked(q, k, v, options, head_parameters).Backward(out_grad, forward);
  const auto like = [](const at::Tensor& t, const at::Tensor& operand) {
    return t.view(operand.sizes()).to(operand.scalar_type());
  };
  AttentionGradients result = {like(sums.q, q), like(sums.k, k), like(sums.v, v), {}};
  for (const at::Tensor& sum : sums.learned) {
    result.learned.push_back(sum.view({q.size(0), q.size(1)}).sum(0));
  }
  return result;
}

}  // namespace attnlab
