#include "libs/attention/visibility.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/ones.h>

#include <algorithm>

#include "libs/core/check.h"

namespace attnlab {
namespace {

// True where the query at `position` [rows, 1] does not see the key `key` [cols].
at::Tensor HiddenFrom(const AttentionOptions& options, const at::Tensor& position,
                      const at::Tensor& key) {
  at::Tensor hidden = key.gt(position);
  if (options.window > 0) {
    at::Tensor too_old = key.le(position.sub(options.window));
    if (options.first_kept > 0) too_old = too_old.logical_and_(key.ge(options.first_kept));
    hidden = hidden.logical_or_(too_old);
  }
  return hidden;
}

at::Tensor VisibleCount(const AttentionOptions& options, const at::Tensor& position, int64_t keys) {
  if (!options.causal) return at::full_like(position, keys);
  const at::Tensor seen = position.add(1);
  if (options.window == 0) return seen;
  // Of the keys before the window, the first_kept stay.
  const at::Tensor before = seen.sub(options.window).clamp_min(0).clamp_max(options.first_kept);
  return seen.clamp_max(options.window).add(before);
}

}  // namespace

void Visibility::Hide(const at::Tensor& scores, double value) const {
  for (const HiddenPart& part : hidden) {
    scores.slice(-1, part.begin - key_begin, part.end - key_begin).masked_fill_(part.hidden, value);
  }
}

at::Tensor DistanceTo(const Visibility& visibility, int64_t key_begin, int64_t key_end) {
  return visibility.position.sub(at::arange(key_begin, key_end, visibility.position.options()));
}

Visibility VisibilityOf(const AttentionOptions& options, int64_t queries, int64_t keys,
                        int64_t row_begin, int64_t row_end, const at::Tensor& like) {
  const int64_t offset = options.causal ? keys - queries : 0;
  ATTNLAB_CHECK(offset >= 0, "causal attention needs at least as many keys as queries");
  const auto index = like.options().dtype(at::kLong);
  const at::Tensor position = at::arange(row_begin + offset, row_end + offset, index).unsqueeze(1);
  Visibility result{0,
                    keys,
                    {},
                    position.to(like.scalar_type()),
                    VisibleCount(options, position, keys).to(like.scalar_type())};
  if (!options.causal) return result;

  const int64_t first = row_begin + offset;   // position of the first row
  const int64_t last = row_end - 1 + offset;  // and of the last
  result.key_end = last + 1;
  const auto hide = [&](int64_t begin, int64_t end) {
    if (begin >= end) return;
    const at::Tensor key = at::arange(begin, end, index);
    result.hidden.push_back({begin, end, HiddenFrom(options, position, key)});
  };
  if (options.window > 0) {  // keys that are too old for some row
    if (options.first_kept == 0)
      result.key_begin = std::max<int64_t>(0, first - options.window + 1);
    hide(std::max(options.first_kept, result.key_begin),
         std::min(last - options.window + 1, first + 1));
  }
  hide(first + 1, last + 1);  // keys that are too new for some row
  return result;
}

at::Tensor HiddenKeys(const AttentionOptions& options, int64_t queries, int64_t keys,
                      int64_t row_begin, int64_t row_end, const at::Tensor& like) {
  const Visibility visibility = VisibilityOf(options, queries, keys, row_begin, row_end, like);
  const at::Tensor hidden = at::ones({row_end - row_begin, keys}, like.options().dtype(at::kBool));
  const at::Tensor inside = hidden.slice(1, visibility.key_begin, visibility.key_end);
  inside.fill_(false);
  visibility.Hide(inside, true);
  return hidden;
}

}  // namespace attnlab
