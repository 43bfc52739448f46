#include "libs/packed/formats.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "libs/core/status.h"
#include "libs/packed/format_list.h"

namespace attnlab {
namespace {

struct Format {
  const char* name;
  FormatReader* read;
};
constexpr Format kFormats[] = {
#define ATTNLAB_FORMAT(name, reader, help) {name, reader},
#include "libs/packed/formats.def"
#undef ATTNLAB_FORMAT
};

}  // namespace

absl::StatusOr<at::Tensor> MatrixTensors::Take(const std::string& suffix, at::ScalarType dtype,
                                               at::IntArrayRef shape) {
  ATTNLAB_ASSIGN_OR_RETURN(at::Tensor tensor, Take(suffix));
  if (tensor.scalar_type() != dtype || tensor.sizes() != shape) {
    return Error(suffix, absl::StrCat("is ", c10::toString(tensor.scalar_type()), " [",
                                      absl::StrJoin(tensor.sizes(), ", "), "], expected ",
                                      c10::toString(dtype), " [", absl::StrJoin(shape, ", "), "]"));
  }
  return tensor;
}

absl::StatusOr<std::shared_ptr<const StoredMatrix>> ReadStoredMatrix(MatrixTensors& tensors,
                                                                     int64_t rows, int64_t cols,
                                                                     const JsonRef& config) {
  ATTNLAB_ASSIGN_OR_RETURN(const absl::string_view method, config["quant_method"].String());
  for (const Format& format : kFormats) {
    if (method == format.name) return format.read(tensors, rows, cols, config);
  }
  return config["quant_method"].Error(
      absl::StrCat("\"", method, "\" is not one of ", absl::StrJoin(FormatNames(), ", ")));
}

std::vector<std::string> FormatNames() {
  std::vector<std::string> names;
  for (const Format& format : kFormats) names.push_back(format.name);
  return names;
}

}  // namespace attnlab
