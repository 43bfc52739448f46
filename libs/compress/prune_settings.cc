// Settings of pruning, and the storage of its results.

#include "libs/compress/prune_settings.h"

#include "libs/compress/masks.h"
#include "libs/core/status.h"
#include "libs/packed/sparse24_format.h"

namespace attnlab {
namespace {

absl::StatusOr<SparsePattern> ParsePattern(const std::string& text) {
  if (text == "unstructured") return SparsePattern();
  if (text == "2:4") return SparsePattern{2, 4};
  if (text == "4:8") return SparsePattern{4, 8};
  return absl::InvalidArgumentError(
      absl::StrFormat("pattern = \"%s\": must be unstructured, 2:4 or 4:8", text));
}

}  // namespace

absl::Status PruningMethod::Init(const PruneSettings& settings) {
  settings_ = settings;
  ATTNLAB_ASSIGN_OR_RETURN(pattern_, ParsePattern(settings.pattern));
  if (!(settings.sparsity > 0 && settings.sparsity < 1)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("sparsity = %g: must be above 0 and below 1", settings.sparsity));
  }
  if (pattern_.period > 0 && settings.sparsity != 0.5) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "sparsity = %g: the pattern %s removes half; leave sparsity out or choose unstructured",
        settings.sparsity, settings.pattern));
  }
  return absl::OkStatus();
}

absl::Status PruningMethod::Check(const ModelConfig& config) const {
  const int64_t period = pattern_.period;
  if (period == 0) return absl::OkStatus();
  return CheckMatrices(
      config, [&](const std::string& name, int64_t /*rows*/, int64_t cols) -> absl::Status {
        if (cols % period == 0) return absl::OkStatus();
        return absl::InvalidArgumentError(
            absl::StrFormat("pattern %s: the inputs of %s, %d, must be a multiple of %d",
                            settings_.pattern, name, cols, period));
      });
}

at::Tensor PruningMethod::PatternMask(const at::Tensor& scores) const {
  return MaskOfPeriods(scores, pattern_.zeros, pattern_.period);
}

absl::StatusOr<CompressedMatrix> PruningMethod::Keep(const at::Tensor& pruned) const {
  CompressedMatrix matrix;
  if (compresses()) {
    ATTNLAB_ASSIGN_OR_RETURN(matrix.stored, StoreSparse24(pruned));
  } else {
    matrix.dense = pruned;
  }
  return matrix;
}

Json PruningMethod::QuantizationConfig() const { return compresses() ? Sparse24Config() : Json(); }

}  // namespace attnlab
