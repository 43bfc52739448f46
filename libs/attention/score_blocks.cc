#include "libs/attention/score_blocks.h"

#include <ATen/ops/baddbmm.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/maximum.h>

#include <algorithm>

#include "libs/attention/rows.h"

namespace attnlab {
namespace {

// Bytes of one block of scores, and query rows in it: on a GPU enough to fill it and to hide the
// launches, on a CPU what its caches hold.
constexpr int64_t kGpuBlockBytes = int64_t{256} << 20;
constexpr int64_t kCpuBlockBytes = int64_t{2} << 20;
constexpr int64_t kGpuRows = 128;
constexpr int64_t kCpuRows = 64;

}  // namespace

ScoreBlocks::ScoreBlocks(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                         const AttentionOptions& options,
                         const std::vector<at::Tensor>& head_parameters)
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

at::TensorOptions ScoreBlocks::Statistics() const {
  return q_.options().dtype(mixed_ ? at::kFloat : type_);
}

at::Tensor ScoreBlocks::FoldQueries(const at::Tensor& t) const {
  return t.to(type_).contiguous().view({-1, groups_, t.size(2), t.size(3)});
}

at::Tensor ScoreBlocks::FoldKeys(const at::Tensor& t) const {
  return t.to(type_).contiguous().view({-1, t.size(2), t.size(3)});
}

void ScoreBlocks::ForEach(const std::function<void(const Block&)>& body) const {
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

at::Tensor ScoreBlocks::Product(const at::Tensor& a, const at::Tensor& b, double alpha) const {
  if (alpha == 1) return mixed_ ? at::bmm(a, b, at::kFloat) : at::bmm(a, b);
  at::Tensor out = at::empty({a.size(0), a.size(1), b.size(2)}, Statistics());
  if (mixed_) return at::baddbmm_out(out, out, a, b, at::kFloat, /*beta=*/0, alpha);
  return at::baddbmm_out(out, out, a, b, /*beta=*/0, alpha);
}

void ScoreBlocks::AddProduct(const at::Tensor& sum, const at::Tensor& a, const at::Tensor& b,
                             double alpha) const {
  at::Tensor out = sum;
  if (mixed_) {
    at::baddbmm_out(out, out, a, b, at::kFloat, /*beta=*/1, alpha);
  } else {
    at::baddbmm_out(out, out, a, b, /*beta=*/1, alpha);
  }
}

Field ScoreBlocks::Scores(const Block& block) const {
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

Field ScoreBlocks::Shift(const Block& block, const Field& scores) const {
  if (!weighting_->shifted()) return Field();
  const at::Tensor top = scores.tensor().amax(-1, /*keepdim=*/true);
  const Field floor = weighting_->Floor(block.row);
  return Field(floor.is_constant() ? top.clamp_min(floor.constant())
                                   : at::maximum(top, floor.tensor()));
}

void ScoreBlocks::HideWeight(const Block& block, const Field& weight) const {
  if (hide_weight_) block.visibility->Hide(weight.tensor(), 0);
}

void ScoreBlocks::HideMass(const Block& block, const Field& mass) const {
  if (hide_mass_ && !mass.is_constant()) block.visibility->Hide(mass.tensor(), 0);
}

void ScoreBlocks::HideScoreGradient(const Block& block, const at::Tensor& gradient) const {
  if (hide_slopes_) block.visibility->Hide(gradient, 0);
}

}  // namespace attnlab
