// Round to nearest: each weight by itself to a uniform grid of its row or group. The baseline of
// every table; it looks at no text.

#include <ATen/ops/arange.h>

#include "absl/strings/str_cat.h"
#include "libs/compress/grid.h"
#include "libs/compress/group_size.h"
#include "libs/compress/method_list.h"
#include "libs/core/status.h"
#include "libs/packed/gptq_format.h"

namespace attnlab {
namespace {

struct Settings {
  int64_t bits = 4;
  int64_t group_size = 0;
  bool symmetric = false;
  bool mse = false;

  template <class Visitor>
  void ForEach(Visitor&& visit) {
    visit("bits", bits, "bits of a stored weight: 8, 4, 3 or 2");
    visit("group_size", group_size, "weights of a row that share a grid; 0 = the whole row");
    visit("symmetric", symmetric, "a grid around zero");
    visit("mse", mse, "grids that shrink for the least error");
  }
};

class Rtn : public Method {
 public:
  explicit Rtn(const Settings& settings) : settings_(settings) {}

  std::vector<MethodSetting> settings() const override { return DescribeSettings(settings_); }

  absl::Status Check(const ModelConfig& config) const override {
    ATTNLAB_RETURN_IF_ERROR(CheckGroupSize(config, settings_.group_size));
    return CheckMatrices(config, [&](const std::string& name, int64_t rows, int64_t cols) {
      return Annotate(CheckGptqFormat(settings_.bits, rows, cols), name);
    });
  }

  absl::StatusOr<CompressedMatrix> Compress(const MatrixWork& work) const override {
    const int64_t rows = work.weight.size(0), cols = work.weight.size(1);
    const int64_t group = settings_.group_size == 0 ? cols : settings_.group_size;
    const at::Tensor grouped = work.weight.view({-1, group});
    const Grid grid = FitGrid(grouped, {settings_.bits, settings_.symmetric, settings_.mse});
    const at::Tensor index = at::arange(cols, work.weight.options().dtype(at::kInt));
    CompressedMatrix matrix;
    ATTNLAB_ASSIGN_OR_RETURN(
        matrix.stored,
        MakeGptqMatrix(Codes(grouped, grid).view({rows, cols}), grid.scale.view({rows, -1}),
                       grid.zero.view({rows, -1}), index.div(group, "floor"), Format()));
    return matrix;
  }

  Json QuantizationConfig() const override { return GptqConfig(Format()); }

 private:
  GptqFormat Format() const {
    return {settings_.bits, settings_.group_size, settings_.symmetric, /*act_order=*/false};
  }

  const Settings settings_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Method>> MakeRtn(const Recipe& recipe) {
  Settings settings;
  ATTNLAB_RETURN_IF_ERROR(recipe.Read(settings));
  if (settings.group_size < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("group_size = ", settings.group_size, ": must be at least 0"));
  }
  ATTNLAB_RETURN_IF_ERROR(CheckGptqFormat(settings.bits, 32, 32));
  return std::make_unique<Rtn>(settings);
}

}  // namespace attnlab
