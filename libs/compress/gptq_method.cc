// The method gptq: GPTQ's solver (libs/compress/gptq.h) on GPTQ's storage.

#include "libs/compress/gptq.h"
#include "libs/compress/group_size.h"
#include "libs/compress/method_list.h"
#include "libs/core/status.h"
#include "libs/packed/gptq_format.h"

namespace attnlab {
namespace {

// The defaults are those of the paper's program.
struct GptqSettings {
  int64_t bits = 4;
  int64_t group_size = 0;
  bool symmetric = false;
  bool act_order = false;
  bool static_groups = false;
  bool true_sequential = false;
  bool mse = false;
  double damp = 0.01;

  template <class Visitor>
  void ForEach(Visitor&& visit) {
    visit("bits", bits, "8, 4, 3 or 2");
    visit("group_size", group_size, "inputs of a row that share a grid; 0: the whole row");
    visit("symmetric", symmetric, "grids with zero in the middle");
    visit("act_order", act_order, "inputs with the largest mean square first");
    visit("static_groups", static_groups, "grids fitted before the first column is rounded");
    visit("true_sequential", true_sequential,
          "inputs of o, gate, up and down measured behind the quantized matrices before them");
    visit("mse", mse, "grids shrunk for the least error");
    visit("damp", damp, "added to the Hessian's diagonal, as a share of its mean");
  }
};

class Gptq : public Method {
 public:
  explicit Gptq(const GptqSettings& settings) : settings_(settings) {}

  std::vector<MethodSetting> settings() const override { return DescribeSettings(settings_); }
  CalibrationNeeds needs() const override { return {.inputs = true, .hessian = true}; }
  bool sequential() const override { return settings_.true_sequential; }

  absl::Status Check(const ModelConfig& config) const override {
    ATTNLAB_RETURN_IF_ERROR(
        CheckMatrices(config, [&](const std::string& name, int64_t rows, int64_t cols) {
          return Annotate(CheckGptqFormat(settings_.bits, rows, cols), name);
        }));
    return CheckGroupSize(config, settings_.group_size);
  }

  absl::StatusOr<CompressedMatrix> Compress(const MatrixWork& work) const override {
    ATTNLAB_ASSIGN_OR_RETURN(const GptqResult solved,
                             SolveGptq(work.weight, work.inputs->hessian,
                                       {.bits = settings_.bits,
                                        .group_size = settings_.group_size,
                                        .symmetric = settings_.symmetric,
                                        .act_order = settings_.act_order,
                                        .static_groups = settings_.static_groups,
                                        .mse = settings_.mse,
                                        .damp = settings_.damp}));
    CompressedMatrix matrix;
    ATTNLAB_ASSIGN_OR_RETURN(
        matrix.stored,
        MakeGptqMatrix(solved.codes, solved.scales, solved.zeros, solved.group_index, Format()));
    return matrix;
  }

  Json QuantizationConfig() const override { return GptqConfig(Format()); }

 private:
  GptqFormat Format() const {
    return {.bits = settings_.bits,
            .group_size = settings_.group_size,
            .symmetric = settings_.symmetric,
            .act_order = settings_.act_order};
  }

  const GptqSettings settings_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Method>> MakeGptq(const Recipe& settings) {
  GptqSettings read;
  ATTNLAB_RETURN_IF_ERROR(settings.Read(read));
  if (!(read.damp >= 0)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("damp = %g: must not be negative", read.damp));
  }
  return std::make_unique<Gptq>(read);
}

}  // namespace attnlab
