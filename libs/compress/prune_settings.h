// What the pruning methods share: which share or pattern of weights goes, and how what is left is
// stored.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/compress/method.h"

namespace attnlab {

// `zeros` of each `period` consecutive inputs of a row; period 0: unstructured.
struct SparsePattern {
  int64_t zeros = 0, period = 0;
};

struct PruneSettings {
  double sparsity = 0.5;
  std::string pattern = "unstructured";

  template <class Visitor>
  void ForEach(Visitor&& visit) {
    visit("sparsity", sparsity, "share of the weights that is removed; 2:4 and 4:8 remove half");
    visit("pattern", pattern, "unstructured, 2:4 or 4:8 (removed : of consecutive inputs)");
  }
};

// A method whose result is a matrix with zeros.
class PruningMethod : public Method {
 public:
  // InvalidArgument that names the setting.
  absl::Status Init(const PruneSettings& settings);

  absl::Status Check(const ModelConfig& config) const override;
  Json QuantizationConfig() const override;

 protected:
  double sparsity() const { return settings_.sparsity; }
  const SparsePattern& pattern() const { return pattern_; }

  // The mask of scores [out, in]: whole matrix or rows, or the pattern's.
  at::Tensor PatternMask(const at::Tensor& scores) const;
  // `pruned` [out, in] as it is stored: 2:4 without its zeros, others as numbers.
  absl::StatusOr<CompressedMatrix> Keep(const at::Tensor& pruned) const;

 private:
  bool compresses() const { return pattern_.zeros == 2 && pattern_.period == 4; }

  PruneSettings settings_;
  SparsePattern pattern_;
};

}  // namespace attnlab
