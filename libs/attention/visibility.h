// Which keys the rows of a block of queries see (the mask of AttentionOptions), and what a formula
// may know of those rows. For the tensor paths; kernels/ has its own.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "libs/attention/options.h"

namespace attnlab {

// Columns [begin, end) of which some row of the block does not see all.
struct HiddenPart {
  int64_t begin;
  int64_t end;
  at::Tensor hidden;  // bool [rows, end - begin], true where a row does not see the key
};

struct Visibility {
  int64_t key_begin;  // keys outside [key_begin, key_end) are seen by no row
  int64_t key_end;
  std::vector<HiddenPart> hidden;  // what is left to hide inside
  at::Tensor position;             // [rows, 1] of the query among the keys
  at::Tensor visible;              // [rows, 1] number of keys seen

  // Writes `value` into `scores` [.., rows, key_end - key_begin] wherever a key is hidden.
  void Hide(const at::Tensor& scores, double value) const;
};

// True where one of the rows does not see a key: bool [row_end - row_begin, keys], on the device of
// `like`.
at::Tensor HiddenKeys(const AttentionOptions& options, int64_t queries, int64_t keys,
                      int64_t row_begin, int64_t row_end, const at::Tensor& like);

// Query position - key position for the keys [key_begin, key_end): [rows, key_end - key_begin].
at::Tensor DistanceTo(const Visibility& visibility, int64_t key_begin, int64_t key_end);

// The visibility of queries [row_begin, row_end) of `queries` on `keys` keys. position and visible
// have the dtype and device of `like`.
Visibility VisibilityOf(const AttentionOptions& options, int64_t queries, int64_t keys,
                        int64_t row_begin, int64_t row_end, const at::Tensor& like);

}  // namespace attnlab
