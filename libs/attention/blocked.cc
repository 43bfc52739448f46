#include "libs/attention/blocked.h"

#include <ATen/ops/addcmul.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/zeros.h>

#include "libs/attention/rows.h"
#include "libs/attention/score_blocks.h"

namespace attnlab {
namespace {

BlockedOutput Forward(const ScoreBlocks& blocks) {
  const int64_t heads = blocks.q().size(0), queries = blocks.q().size(2);
  BlockedOutput result;
  result.out =
      at::empty({heads, blocks.groups(), queries, blocks.v().size(2)}, blocks.q().options());
  result.denominator = at::empty({heads, blocks.groups(), queries}, blocks.Statistics());
  if (blocks.weighting().shifted()) result.shift = at::empty_like(result.denominator);
  blocks.ForEach([&](const Block& block) {
    Weights<Field> weights;
    Field shift;
    {
      const Field scores = blocks.Scores(block);
      shift = blocks.Shift(block, scores);
      weights = blocks.weighting().Weigh(scores, shift);
    }
    blocks.HideWeight(block, weights.weight);
    blocks.HideMass(block, weights.mass);
    const at::Tensor denominator = block.Rows(result.denominator).unsqueeze(-1);  // [n, G, rows, 1]
    denominator.copy_(
        TensorOf(SumOf(weights.mass, block.row.visible) + blocks.weighting().Tail(shift, block.row),
                 denominator));
    if (result.shift.defined()) block.Rows(result.shift).copy_(shift.tensor().squeeze(-1));
    const at::Tensor sums =
        block.Split(blocks.Product(blocks.AsOperand(weights.weight.tensor()), block.v));
    block.Rows(result.out).copy_(sums.mul_(ReciprocalOf(denominator)));
  });
  return result;
}

// dS = W' dP - M' d, with dP = dO/den . v and d = dO/den . o, as an operand of the products that
// follow: the last operation writes their dtype, and equal slopes are multiplied once.
at::Tensor ScoreGradient(const ScoreBlocks& blocks, Weights<Dual<Field>> weights, Field value_dot,
                         const at::Tensor& out_dot) {
  Field weight = std::move(weights.weight.slope), mass = std::move(weights.mass.slope);
  weights = {};
  if (weight.is_same(mass)) {
    value_dot = std::move(value_dot) - Field(out_dot);
    mass = Field();
  }
  const bool narrow = blocks.mixed() && !weight.is_constant();
  if (mass.is_zero()) {
    if (!narrow)
      return (std::move(weight) * std::move(value_dot)).tensor().to(blocks.q().scalar_type());
    at::Tensor out = at::empty(weight.tensor().sizes(), blocks.q().options());
    return at::mul_out(out, weight.tensor(), value_dot.tensor());
  }
  const at::Tensor product = (std::move(weight) * std::move(value_dot)).tensor();
  at::Tensor out = narrow ? at::empty(product.sizes(), blocks.q().options()) : product;
  return at::addcmul_out(out, product, TensorOf(mass, out_dot), out_dot, -1);
}

// With s = gain x + offset - slope distance: sum_j dS x of a row is q . (scale sum_j dS k), which
// stands in query_sums.
void AddLearnedGradients(const ScoreBlocks& blocks, const Block& block, const Field& shift,
                         const at::Tensor& score_grad, const at::Tensor& query_sums,
                         const at::Tensor& out_dot, const std::vector<at::Tensor>& sums) {
  for (size_t i = 0; i < sums.size(); ++i) {
    const int index = static_cast<int>(i);
    const Affine<Dual<Field>> affine = blocks.weighting().ScoreDual(block.row, index);
    Field grad = -(Field(out_dot) * blocks.weighting().TailDual(shift, block.row, index).slope);
    if (!affine.gain.slope.is_zero()) {
      const at::Tensor raw_dot = query_sums.mul(block.Split(block.q)).sum(-1, /*keepdim=*/true);
      grad = grad + affine.gain.slope * Field(raw_dot);
    }
    if (!affine.offset.slope.is_zero()) {
      grad = grad + affine.offset.slope *
                        Field(score_grad.sum(-1, /*keepdim=*/true,
                                             blocks.Statistics().dtype().toScalarType()));
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

void BackwardBlock(const ScoreBlocks& blocks, const Block& block, const at::Tensor& out_grad,
                   const at::Tensor& out, const at::Tensor& shift, const at::Tensor& reciprocal,
                   const AttentionGradients& sums) {
  const Field m = shift.defined() ? Field(block.Rows(shift)) : Field();
  Weights<Dual<Field>> weights = blocks.weighting().WeighDual(blocks.Scores(block), m);
  blocks.HideWeight(block, weights.weight.value);

  const at::Tensor inverse = block.Rows(reciprocal);
  const at::Tensor row_grad = blocks.AsOperand(block.Rows(out_grad).mul(inverse));  // dO / den
  blocks.AddProduct(block.Keys(sums.v),
                    blocks.AsOperand(weights.weight.value.tensor()).transpose(1, 2), row_grad);

  Field value_dot(block.Split(blocks.Product(row_grad, block.v.transpose(1, 2))));
  // dO / den . o. What a head learns sums whole rows, in which the error of a rounded o would not
  // cancel: there o is the weights that the sums are made of.
  const at::Tensor row_dot =
      sums.learned.empty()
          ? row_grad.view(block.Rows(out).sizes())
                .to(inverse.scalar_type())
                .mul(block.Rows(out))
                .sum(-1, /*keepdim=*/true)
          : value_dot.tensor()
                .mul(TensorOf(weights.weight.value, value_dot.tensor()))
                .sum(-1, /*keepdim=*/true)
                .mul_(inverse);
  const at::Tensor score_grad =
      ScoreGradient(blocks, std::move(weights), std::move(value_dot), row_dot);
  blocks.HideScoreGradient(block, score_grad);

  const Field gain = blocks.weighting().Score(block.row).gain;
  const at::Tensor operand = blocks.AsOperand(score_grad);
  const at::Tensor query_sums = block.Split(blocks.Product(operand, block.k, blocks.scale()));
  block.Rows(sums.q).copy_((Field(query_sums) * gain).tensor());
  const at::Tensor gained = blocks.AsOperand((Field(block.Split(block.q)) * gain).tensor());
  blocks.AddProduct(block.Keys(sums.k), operand.transpose(1, 2), gained, blocks.scale());
  AddLearnedGradients(blocks, block, m, score_grad, query_sums, row_dot, sums.learned);
}

AttentionGradients Backward(const ScoreBlocks& blocks, const at::Tensor& out_grad,
                            const BlockedOutput& forward) {
  const at::Tensor grad = blocks.FoldQueries(out_grad);
  const at::Tensor out = forward.out.reshape(grad.sizes());
  std::vector<int64_t> rows = grad.sizes().vec();
  rows.back() = 1;
  const at::Tensor reciprocal = ReciprocalOf(forward.denominator.reshape(rows));
  const at::Tensor shift = forward.shift.defined() ? forward.shift.reshape(rows) : at::Tensor();

  AttentionGradients sums;
  sums.q = at::empty_like(blocks.q());
  sums.k = at::zeros(blocks.k().sizes(), blocks.Statistics());
  sums.v = at::zeros(blocks.v().sizes(), blocks.Statistics());
  for (size_t i = 0; i < blocks.learned_count(); ++i) {
    sums.learned.push_back(at::zeros({blocks.q().size(0), blocks.groups()}, blocks.Statistics()));
  }
  blocks.ForEach([&](const Block& block) {
    BackwardBlock(blocks, block, grad, out, shift, reciprocal, sums);
  });
  return sums;
}

}  // namespace

BlockedOutput BlockedForward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                             const AttentionOptions& options,
                             const std::vector<at::Tensor>& head_parameters) {
  const c10::AutoGradMode no_grad(false);
  BlockedOutput result = Forward(ScoreBlocks(q, k, v, options, head_parameters));
  const int64_t batch = q.size(0), heads = q.size(1), queries = q.size(2);
  result.out = result.out.view({batch, heads, queries, v.size(3)});
  result.denominator = result.denominator.view({batch, heads, queries});
  if (result.shift.defined()) result.shift = result.shift.view({batch, heads, queries});
  return result;
}

AttentionGradients BlockedBackward(const at::Tensor& out_grad, const at::Tensor& q,
                                   const at::Tensor& k, const at::Tensor& v,
                                   const BlockedOutput& forward, const AttentionOptions& options,
                                   const std::vector<at::Tensor>& head_parameters) {
  const c10::AutoGradMode no_grad(false);
  AttentionGradients sums =
      Backward(ScoreBlocks(q, k, v, options, head_parameters), out_grad, forward);
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
