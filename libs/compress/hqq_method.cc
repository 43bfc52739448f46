// The method hqq: the solver of libs/compress/hqq.h on the storage of its package. It looks at no
// text.

#include <string>

#include "absl/strings/str_cat.h"
#include "libs/compress/hqq.h"
#include "libs/compress/method_list.h"
#include "libs/core/status.h"
#include "libs/packed/hqq_format.h"

namespace attnlab {
namespace {

constexpr int64_t kLargestGroup = int64_t{1} << 31;

struct Settings {
  int64_t bits = 4;
  int64_t group_size = 64;
  int64_t axis = 1;
  std::string solver = "legacy";
  std::string dtype = "float32";

  template <class Visitor>
  void ForEach(Visitor&& visit) {
    visit("bits", bits, "bits of a code: 8, 6, 5, 4, 3, 2 or 1");
    visit("group_size", group_size, "weights that share a scale, a multiple of 8; 0 = a whole row");
    visit("axis", axis, "1 = groups along the inputs, 0 = along the outputs");
    visit("solver", solver, "legacy, v2 or slow");
    visit("dtype", dtype, "of stored scales and zeros: float32, float16 or bfloat16");
  }
};

template <class Value>
struct Named {
  const char* name;
  Value value;
};
constexpr Named<HqqSolver> kSolvers[] = {
    {"legacy", HqqSolver::kLegacy}, {"v2", HqqSolver::kV2}, {"slow", HqqSolver::kSlow}};
constexpr Named<at::ScalarType> kTypes[] = {
    {"float32", at::kFloat}, {"float16", at::kHalf}, {"bfloat16", at::kBFloat16}};

template <class Value, size_t n>
absl::StatusOr<Value> Find(const Named<Value> (&values)[n], const char* field,
                           const std::string& name) {
  std::string known;
  for (const auto& [candidate, value] : values) {
    if (name == candidate) return value;
    absl::StrAppend(&known, known.empty() ? "" : ", ", candidate);
  }
  return absl::InvalidArgumentError(absl::StrCat(field, " = \"", name, "\" is not one of ", known));
}

class Hqq : public Method {
 public:
  Hqq(const Settings& settings, HqqSolver solver, at::ScalarType dtype)
      : settings_(settings),
        format_{settings.bits, settings.group_size, settings.axis},
        solver_(solver),
        dtype_(dtype) {}

  std::vector<MethodSetting> settings() const override { return DescribeSettings(settings_); }

  absl::Status Check(const ModelConfig& config) const override {
    return CheckMatrices(config, [&](const std::string& name, int64_t rows, int64_t cols) {
      return Annotate(CheckHqqFormat(format_, rows, cols), name);
    });
  }

  absl::StatusOr<CompressedMatrix> Compress(const MatrixWork& work) const override {
    const int64_t rows = work.weight.size(0), cols = work.weight.size(1);
    const HqqView view = GroupedView(format_, rows, cols);
    const HqqResult solved = SolveHqq(work.weight.contiguous().view({view.rows, view.cols}),
                                      {settings_.bits, settings_.axis, solver_});
    const at::Tensor scale = solved.scale.to(dtype_), zero = solved.zero.to(dtype_);
    if (!(scale.isfinite().all().item<bool>() && zero.isfinite().all().item<bool>())) {
      return absl::InvalidArgumentError(absl::StrCat("a scale or a zero does not fit ",
                                                     settings_.dtype, "; use dtype = \"float32\""));
    }
    return CompressedMatrix{MakeHqqMatrix(solved.codes, scale, zero, format_, rows, cols), {}};
  }

  Json QuantizationConfig() const override { return HqqConfig(format_); }

 private:
  const Settings settings_;
  const HqqFormat format_;
  const HqqSolver solver_;
  const at::ScalarType dtype_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Method>> MakeHqq(const Recipe& recipe) {
  Settings settings;
  ATTNLAB_RETURN_IF_ERROR(recipe.Read(settings));
  ATTNLAB_ASSIGN_OR_RETURN(const HqqSolver solver, Find(kSolvers, "solver", settings.solver));
  ATTNLAB_ASSIGN_OR_RETURN(const at::ScalarType dtype, Find(kTypes, "dtype", settings.dtype));
  if (settings.group_size > kLargestGroup) {
    return absl::InvalidArgumentError(absl::StrCat(
        "group_size = ", settings.group_size, ": must be a multiple of 8 up to ", kLargestGroup));
  }
  // A size that suits any groups: what is wrong now is wrong with every model.
  const int64_t size = settings.group_size > 0 ? settings.group_size * 8 : 64;
  ATTNLAB_RETURN_IF_ERROR(
      CheckHqqFormat({settings.bits, settings.group_size, settings.axis}, size, size));
  return std::make_unique<Hqq>(settings, solver, dtype);
}

}  // namespace attnlab
