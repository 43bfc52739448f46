// The work of blocked.h cut into blocks: the operands of a call with heads folded into one batch of
// N = B Hkv key heads, their matrix products in the right dtypes, and the scores of a block of
// query rows.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <vector>

#include "libs/attention/field.h"
#include "libs/attention/options.h"
#include "libs/attention/tensor_weighting.h"
#include "libs/attention/visibility.h"

namespace attnlab {

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
  // [n, G * rows, x] as [n, G, rows, x].
  at::Tensor Split(const at::Tensor& flat) const { return flat.unflatten(1, {groups, -1}); }
};

class ScoreBlocks {
 public:
  ScoreBlocks(const at::Tensor& q,  // [B, H, T, D]
              const at::Tensor& k,  // [B, Hkv, S, D]
              const at::Tensor& v,  // [B, Hkv, S, Dv]
              const AttentionOptions& options,
              const std::vector<at::Tensor>& head_parameters);  // each [H]

  const at::Tensor& q() const { return q_; }  // [N, G, T, D]
  const at::Tensor& k() const { return k_; }  // [N, S, D]
  const at::Tensor& v() const { return v_; }  // [N, S, Dv]
  int64_t groups() const { return groups_; }
  double scale() const { return scale_; }
  size_t learned_count() const { return learned_.size(); }
  const TensorWeighting& weighting() const { return *weighting_; }

  // Operands of products are bfloat16 and their results float32; else both have one dtype.
  bool mixed() const { return mixed_; }
  at::TensorOptions Statistics() const;  // dtype and device of scores and row statistics

  // Calls `body` for every block, once each.
  void ForEach(const std::function<void(const Block&)>& body) const;

  // [B, H, T, x] -> [N, G, T, x] in the dtype of operands.
  at::Tensor FoldQueries(const at::Tensor& t) const;
  // [n, G, rows, x] as an operand [n, G * rows, x] of a product.
  at::Tensor AsOperand(const at::Tensor& t) const { return t.to(type_).flatten(1, 2); }
  // alpha a b in the dtype of statistics; a [n, i, j], b [n, j, k].
  at::Tensor Product(const at::Tensor& a, const at::Tensor& b, double alpha = 1) const;
  // sum += alpha a b.
  void AddProduct(const at::Tensor& sum, const at::Tensor& a, const at::Tensor& b,
                  double alpha = 1) const;

  // The scores of a block [n, G, rows, cols], hidden ones kNoFloor, and the shift m of its rows (0
  // without one).
  Field Scores(const Block& block) const;
  Field Shift(const Block& block, const Field& scores) const;

  // Put 0 where a key is hidden, unless the formula gave 0 there already.
  void HideWeight(const Block& block, const Field& weight) const;
  void HideMass(const Block& block, const Field& mass) const;
  void HideScoreGradient(const Block& block, const at::Tensor& gradient) const;

 private:
  at::Tensor FoldKeys(const at::Tensor& t) const;  // [B, Hkv, S, x] -> [N, S, x]

  AttentionOptions options_;
  std::unique_ptr<const TensorWeighting> weighting_;
  bool mixed_;
  at::ScalarType type_;  // of operands
  int64_t groups_;
  double scale_;
  at::Tensor q_, k_, v_;
  std::vector<at::Tensor> learned_;  // each [N, G, 1, 1]
  bool hide_weight_, hide_mass_, hide_slopes_;
};

}  // namespace attnlab
