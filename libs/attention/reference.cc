#include "libs/attention/reference.h"

#include <ATen/ops/matmul.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/where.h>

#include <limits>

#include "libs/attention/rows.h"
#include "libs/attention/tensor_weighting.h"

namespace attnlab {
namespace {

// Adds what the variant's Score says to raw scores.
Field AffineScores(const TensorWeighting& weighting, const Row<Field>& row, const at::Tensor& raw,
                   const at::Tensor& distance) {
  const Affine<Field> affine = weighting.Score(row);
  return affine.gain * Field(raw) + affine.offset - affine.slope * Field(distance);
}

// The shift of each row, a constant to gradients.
Field ShiftOf(const TensorWeighting& weighting, const Row<Field>& row, const at::Tensor& scores,
              const at::Tensor& hidden) {
  if (!weighting.shifted()) return Field();
  const at::Tensor top = scores.detach()
                             .masked_fill(hidden, -std::numeric_limits<double>::infinity())
                             .amax(-1, /*keepdim=*/true);
  return Field(at::maximum(top, TensorOf(weighting.Floor(row), top).detach()));
}

// W / den of the rows, [B, Hkv, G, rows, S].
at::Tensor GroupedWeights(const at::Tensor& q, const at::Tensor& k, const AttentionOptions& options,
                          const std::vector<at::Tensor>& head_parameters, int64_t row_begin,
                          int64_t row_end) {
  const auto weighting = MakeTensorWeighting(options);
  const int64_t groups = q.size(1) / k.size(1);
  const at::ScalarType type = StatisticsType(q);
  const at::Tensor queries =
      q.slice(2, row_begin, row_end).to(type).unflatten(1, {k.size(1), groups});
  const at::Tensor raw = at::matmul(queries, k.to(type).unsqueeze(2).transpose(-1, -2))
                             .mul(ScaleOf(options, q.size(3)));

  const Visibility visibility =
      VisibilityOf(options, q.size(2), k.size(2), row_begin, row_end, raw);
  const at::Tensor hidden = HiddenKeys(options, q.size(2), k.size(2), row_begin, row_end, raw);

  std::vector<at::Tensor> learned;
  for (const at::Tensor& parameter : head_parameters) {
    learned.push_back(parameter.to(type).view({k.size(1), groups, 1, 1}));
  }
  const Row<Field> row = RowOf(visibility, learned);
  const at::Tensor scores =
      AffineScores(*weighting, row, raw, DistanceTo(visibility, 0, k.size(2))).tensor();
  const Field shift = ShiftOf(*weighting, row, scores, hidden);
  const Field safe(at::where(hidden, TensorOf(shift, scores), scores));

  const Weights<Field> weights = weighting->Weigh(safe, shift);
  const at::Tensor weight = weights.weight.tensor().masked_fill(hidden, 0);
  const Field mass = weights.mass.is_constant()
                         ? weights.mass
                         : Field(weights.mass.tensor().masked_fill(hidden, 0));
  const Field denominator = SumOf(mass, row.visible) + weighting->Tail(shift, row);
  return weight.mul(ReciprocalOf(TensorOf(denominator, weight)));
}

}  // namespace

at::Tensor AttentionReference(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                              const AttentionOptions& options,
                              const std::vector<at::Tensor>& head_parameters) {
  const at::Tensor weights = GroupedWeights(q, k, options, head_parameters, 0, q.size(2));
  return at::matmul(weights, v.to(weights.scalar_type()).unsqueeze(2))
      .flatten(1, 2)
      .to(q.scalar_type());
}

at::Tensor AttentionWeights(const at::Tensor& q, const at::Tensor& k,
                            const AttentionOptions& options,
                            const std::vector<at::Tensor>& head_parameters, int64_t row_begin,
                            int64_t row_end) {
  return GroupedWeights(q, k, options, head_parameters, row_begin, row_end).flatten(1, 2);
}

}  // namespace attnlab
