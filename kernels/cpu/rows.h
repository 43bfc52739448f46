// What the blocked loops keep of the query rows of one head.
#pragma once

#include "kernels/cpu/operands.h"
#include "kernels/cpu/variant_ops.h"

namespace attnlab::ATTNLAB_ISA {

// Fills rows[0..count) for queries [begin, begin + count) of `head`; `mask` is the sequence's own.
inline void DescribeRows(const Problem& problem, const VariantOps& ops, const Mask& mask,
                         int64_t head, int64_t begin, int64_t count, Row<float>* rows) {
  for (int64_t i = 0; i < count; ++i) {
    const int64_t query = begin + i;
    const int64_t visible = mask.CountVisible(query, problem.shape.keys);
    rows[i].position = static_cast<float>(Most(query + mask.query_offset, 0));
    rows[i].visible = static_cast<float>(Most(visible, 1));
    for (int p = 0; p < kMaxLearned; ++p) {
      rows[i].learned[p] = p < ops.learned ? problem.learned[p][head] : 0.0f;
    }
  }
}

// The score maps of rows on keys from `key_begin` on, with the scale of q . k in the gain.
inline void MapRows(const Row<float>* rows, const Affine<float>* score, int64_t count, float scale,
                    int64_t key_begin, RowMap* map) {
  for (int64_t i = 0; i < count; ++i) {
    const float distance = rows[i].position - static_cast<float>(key_begin);
    map[i] = {score[i].gain * scale, score[i].offset - score[i].slope * distance, score[i].slope};
  }
}

// 1 / den, or 0 for a row that attends to nothing.
ATTNLAB_HD float InverseOf(float denominator) {
  return denominator == 0.0f ? 0.0f : 1.0f / denominator;
}

}  // namespace attnlab::ATTNLAB_ISA
