// The elimination of columns: a loop over rows on the CPU, ATen column by column elsewhere.

#include "libs/compress/column_solver.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "libs/core/check.h"

namespace attnlab {
namespace {

// One block: `weight` becomes the values, `error` what each column leaves to those behind.
struct Block {
  at::Tensor weight;  // [out, n], contiguous
  at::Tensor error;   // [out, n]
  at::Tensor codes;   // [out, n] uint8; undefined without scales
  at::Tensor factor;  // [n, n], contiguous
  BlockRule rule;
};

// The rows of a block as plain memory.
struct BlockRows {
  int64_t n;
  float *weight, *error;
  uint8_t* codes;
  const float *factor, *scale, *zero;  // scale and zero may be null
  bool* mask;                          // null: nothing becomes zero
  int64_t zeros, period;
  float max_code;
};

// Marks the `zeros` of w[0, period) whose scores are least.
void MarkLeast(const BlockRows& rows, const float* w, int64_t first, bool* mask) {
  const int64_t count = std::min(rows.period, rows.n - first);
  std::vector<float> scores(count);
  for (int64_t j = 0; j < count; ++j) {
    const float d = rows.factor[(first + j) * rows.n + first + j];
    scores[j] = w[j] * w[j] / (d * d);
  }
  for (int64_t chosen = 0; chosen < std::min(rows.zeros, count); ++chosen) {
    int64_t best = -1;
    for (int64_t j = 0; j < count; ++j) {
      if (!mask[j] && (best < 0 || scores[j] < scores[best])) best = j;
    }
    mask[best] = true;
  }
}

// Eliminates the columns of row `r`; returns its loss.
double SolveRow(const BlockRows& rows, int64_t r) {
  const int64_t n = rows.n, start = r * n;
  float* w = rows.weight + start;
  bool* mask = rows.mask != nullptr ? rows.mask + start : nullptr;
  double loss = 0;
  for (int64_t i = 0; i < n; ++i) {
    if (rows.period > 0 && i % rows.period == 0) MarkLeast(rows, w + i, i, mask + i);
    float value = mask != nullptr && mask[i] ? 0.0f : w[i];
    if (rows.scale != nullptr) {
      const float scale = rows.scale[start + i], zero = rows.zero[start + i];
      const float code = std::clamp(std::nearbyint(value / scale) + zero, 0.0f, rows.max_code);
      rows.codes[start + i] = static_cast<uint8_t>(code);
      value = scale * (code - zero);
    }
    const float* factor = rows.factor + i * n;
    const float error = (w[i] - value) / factor[i];
    for (int64_t j = i + 1; j < n; ++j) w[j] -= error * factor[j];
    loss += double{error} * error / 2;
    rows.error[start + i] = error;
    w[i] = value;
  }
  return loss;
}

double SolveBlockByRows(Block& block) {
  BlockRule& rule = block.rule;
  const int64_t out = block.weight.size(0);
  const bool quantized = rule.scale.defined();
  const BlockRows rows = {
      .n = block.weight.size(1),
      .weight = block.weight.data_ptr<float>(),
      .error = block.error.data_ptr<float>(),
      .codes = quantized ? block.codes.data_ptr<uint8_t>() : nullptr,
      .factor = block.factor.const_data_ptr<float>(),
      .scale = quantized ? rule.scale.const_data_ptr<float>() : nullptr,
      .zero = quantized ? rule.zero.const_data_ptr<float>() : nullptr,
      .mask = rule.mask.defined() ? rule.mask.data_ptr<bool>() : nullptr,
      .zeros = rule.zeros,
      .period = rule.period,
      .max_code = static_cast<float>(rule.max_code),
  };
  std::vector<double> losses(out);
  at::parallel_for(0, out, 16, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) losses[r] = SolveRow(rows, r);
  });
  double loss = 0;
  for (const double row : losses) loss += row;
  return loss;
}

double SolveBlockByColumns(Block& block) {
  BlockRule& rule = block.rule;
  const at::Tensor diagonal = block.factor.diagonal();
  for (int64_t i = 0; i < block.weight.size(1); ++i) {
    if (rule.period > 0 && i % rule.period == 0) {
      const auto window = [&](const at::Tensor& x, int64_t dim) {
        return x.slice(dim, i, i + rule.period);
      };
      const at::Tensor scores = window(block.weight, 1).square() / window(diagonal, 0).square();
      const at::Tensor ascending = std::get<1>(scores.sort(std::optional<bool>(true), 1, false));
      window(rule.mask, 1).scatter_(1, ascending.slice(1, 0, rule.zeros), true);
    }
    const at::Tensor w = block.weight.select(1, i);
    at::Tensor value = rule.mask.defined() ? w.masked_fill(rule.mask.select(1, i), 0) : w.clone();
    if (rule.scale.defined()) {
      const at::Tensor scale = rule.scale.select(1, i), zero = rule.zero.select(1, i);
      const at::Tensor code = ((value / scale).round_() + zero).clamp_(0, rule.max_code);
      block.codes.select(1, i).copy_(code);
      value = scale * (code - zero);
    }
    const at::Tensor error = (w - value) / diagonal[i];
    block.weight.slice(1, i).sub_(at::outer(error, block.factor.select(0, i).slice(0, i)));
    block.error.select(1, i).copy_(error);
    w.copy_(value);
  }
  return block.error.square().sum(at::kDouble).item<double>() / 2;
}

}  // namespace

SolvedColumns SolveColumns(at::Tensor weight, const at::Tensor& factor, const BlockRuler& ruler,
                           SolverPath path) {
  ATTNLAB_CHECK(weight.scalar_type() == at::kFloat && factor.scalar_type() == at::kFloat);
  const bool by_rows = path == SolverPath::kRows || (path == SolverPath::kAuto && weight.is_cpu());
  SolvedColumns result;
  const int64_t in = weight.size(1);
  for (int64_t begin = 0; begin < in; begin += kSolverBlock) {
    const int64_t end = std::min(begin + kSolverBlock, in);
    Block block;
    block.rule = ruler(weight, begin, end);
    block.weight = weight.slice(1, begin, end).clone(at::MemoryFormat::Contiguous);
    block.error = at::empty_like(block.weight);
    block.factor = factor.slice(0, begin, end).slice(1, begin, end).contiguous();
    if (block.rule.scale.defined()) {
      block.rule.scale = block.rule.scale.contiguous();
      block.rule.zero = block.rule.zero.contiguous();
      block.codes = at::empty(block.weight.sizes(), block.weight.options().dtype(at::kByte));
      if (!result.codes.defined()) result.codes = at::empty(weight.sizes(), block.codes.options());
    }
    if (block.rule.period > 0) {
      block.rule.mask = at::zeros(block.weight.sizes(), block.weight.options().dtype(at::kBool));
    } else if (block.rule.mask.defined()) {
      block.rule.mask = block.rule.mask.contiguous();
    }
    result.loss += by_rows ? SolveBlockByRows(block) : SolveBlockByColumns(block);
    weight.slice(1, begin, end).copy_(block.weight);
    if (block.codes.defined()) result.codes.slice(1, begin, end).copy_(block.codes);
    if (end < in) {
      weight.slice(1, end).sub_(at::mm(block.error, factor.slice(0, begin, end).slice(1, end)));
    }
  }
  result.values = weight;
  return result;
}

}  // namespace attnlab
