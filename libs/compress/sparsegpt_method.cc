// The method sparsegpt: zeros by SparseGPT's solver (libs/compress/sparsegpt.h), kept as numbers,
// or with a few bits in GPTQ's storage, where a zero is a code like the others.

#include <ATen/ops/zeros.h>

#include "libs/compress/method_list.h"
#include "libs/compress/prune_settings.h"
#include "libs/compress/sparsegpt.h"
#include "libs/core/status.h"
#include "libs/packed/gptq_format.h"

namespace attnlab {
namespace {

struct SparseGptSettings : PruneSettings {
  double damp = 0.01;
  int64_t bits = 0;
  bool symmetric = false;

  template <class Visitor>
  void ForEach(Visitor&& visit) {
    PruneSettings::ForEach(visit);
    visit("damp", damp, "added to the Hessian's diagonal, as a share of its mean");
    visit("bits", bits, "kept weights are rounded to so many bits, a grid a row; 0: not at all");
    visit("symmetric", symmetric, "grids with zero in the middle");
  }
};

class SparseGpt : public PruningMethod {
 public:
  explicit SparseGpt(const SparseGptSettings& settings) : settings_(settings) {}

  std::vector<MethodSetting> settings() const override { return DescribeSettings(settings_); }
  CalibrationNeeds needs() const override { return {.inputs = true, .hessian = true}; }

  absl::Status Check(const ModelConfig& config) const override {
    ATTNLAB_RETURN_IF_ERROR(PruningMethod::Check(config));
    if (settings_.bits == 0) return absl::OkStatus();
    return CheckMatrices(config, [&](const std::string& name, int64_t rows, int64_t cols) {
      return Annotate(CheckGptqFormat(settings_.bits, rows, cols), name);
    });
  }

  absl::StatusOr<CompressedMatrix> Compress(const MatrixWork& work) const override {
    ATTNLAB_ASSIGN_OR_RETURN(const SparseGptResult solved,
                             SolveSparseGpt(work.weight, work.inputs->hessian,
                                            {.sparsity = sparsity(),
                                             .zeros = pattern().zeros,
                                             .period = pattern().period,
                                             .damp = settings_.damp,
                                             .bits = settings_.bits,
                                             .symmetric = settings_.symmetric}));
    if (settings_.bits == 0) return Keep(solved.values);
    CompressedMatrix matrix;
    const at::Tensor one_group =
        at::zeros({work.weight.size(1)}, work.weight.options().dtype(at::kInt));
    ATTNLAB_ASSIGN_OR_RETURN(matrix.stored,
                             MakeGptqMatrix(solved.codes, solved.scale.unsqueeze(1),
                                            solved.zero.unsqueeze(1), one_group, Format()));
    return matrix;
  }

  Json QuantizationConfig() const override {
    if (settings_.bits == 0) return PruningMethod::QuantizationConfig();
    return GptqConfig(Format());
  }

 private:
  GptqFormat Format() const { return {.bits = settings_.bits, .symmetric = settings_.symmetric}; }

  const SparseGptSettings settings_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Method>> MakeSparseGpt(const Recipe& settings) {
  SparseGptSettings read;
  ATTNLAB_RETURN_IF_ERROR(settings.Read(read));
  if (!(read.damp >= 0)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("damp = %g: must not be negative", read.damp));
  }
  auto method = std::make_unique<SparseGpt>(read);
  ATTNLAB_RETURN_IF_ERROR(method->Init(read));
  return method;
}

}  // namespace attnlab
