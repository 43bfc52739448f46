#include "libs/packed/awq_format.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>

#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "libs/core/check.h"
#include "libs/core/status.h"
#include "libs/packed/format_list.h"
#include "libs/packed/group_grids.h"

namespace attnlab {
namespace {

constexpr int64_t kBits = 4, kPerWord = 32 / kBits;

constexpr int64_t kOrder[kPerWord] = {0, 2, 4, 6, 1, 3, 5, 7};

// [n, m] of 4-bit codes -> int32 [n, m / 8].
at::Tensor PackColumns(const at::Tensor& codes) {
  const at::Tensor eights = codes.to(at::kInt).unflatten(1, {-1, kPerWord});
  at::Tensor words = eights.select(2, kOrder[0]).clone();
  for (int64_t k = 1; k < kPerWord; ++k) {
    words.bitwise_or_(eights.select(2, kOrder[k]).bitwise_left_shift(kBits * k));
  }
  return words.contiguous();
}

// The reverse, uint8.
at::Tensor UnpackColumns(const at::Tensor& words) {
  const at::Tensor eights =
      at::empty({words.size(0), words.size(1), kPerWord}, words.options().dtype(at::kByte));
  for (int64_t k = 0; k < kPerWord; ++k) {
    eights.select(2, kOrder[k]).copy_(words.bitwise_right_shift(kBits * k).bitwise_and(15));
  }
  return eights.flatten(1);
}

class AwqMatrix : public StoredMatrix {
 public:
  AwqMatrix(int64_t rows, int64_t cols, at::Tensor qweight, at::Tensor qzeros, at::Tensor scales)
      : StoredMatrix(rows, cols),
        qweight_(std::move(qweight)),
        qzeros_(std::move(qzeros)),
        scales_(std::move(scales)) {}

  at::Tensor Dense(at::ScalarType dtype) const override {
    const at::Tensor input = at::arange(cols(), qweight_.options().dtype(at::kLong));
    return NumbersOfGrids(UnpackColumns(qweight_), UnpackColumns(qzeros_).to(at::kFloat),
                          scales_.to(at::kFloat), input.div(cols() / scales_.size(0), "floor"))
        .to(dtype);
  }

  SuffixedTensors Tensors() const override {
    return {{"qweight", qweight_}, {"qzeros", qzeros_}, {"scales", scales_}};
  }

  std::shared_ptr<const StoredMatrix> To(at::Device device) const override {
    return std::make_shared<AwqMatrix>(rows(), cols(), qweight_.to(device), qzeros_.to(device),
                                       scales_.to(device));
  }

 private:
  const at::Tensor qweight_, qzeros_, scales_;
};

// AutoAWQ calls the layout `version`, newer transformers `format`.
absl::Status CheckVersion(const JsonRef& config) {
  const JsonRef field = config["version"].present() ? config["version"] : config["format"];
  ATTNLAB_ASSIGN_OR_RETURN(const std::string version, field.StringOr("gemm"));
  if (absl::AsciiStrToLower(version) == "gemm") return absl::OkStatus();
  return field.Error(absl::StrCat("\"", version, "\" is not gemm, the one layout of AWQ known"));
}

}  // namespace

absl::Status CheckAwqFormat(int64_t bits, int64_t group_size, int64_t rows, int64_t cols) {
  if (bits != kBits) {
    return absl::InvalidArgumentError(
        absl::StrCat("bits = ", bits, ": the AWQ layout holds 4 alone"));
  }
  if (rows % kPerWord != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("a matrix with ", rows, " outputs: the AWQ layout packs 8 into a word"));
  }
  if (group_size < 0 || (group_size > 0 && cols % group_size != 0)) {
    return absl::InvalidArgumentError(
        absl::StrCat("group_size = ", group_size, " does not divide the ", cols, " inputs"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const StoredMatrix>> MakeAwqMatrix(const at::Tensor& codes,
                                                                  const at::Tensor& scales,
                                                                  const at::Tensor& zeros) {
  const int64_t rows = codes.size(0), cols = codes.size(1);
  ATTNLAB_CHECK(cols % scales.size(1) == 0 && scales.sizes() == zeros.sizes());
  ATTNLAB_CHECK(CheckAwqFormat(kBits, cols / scales.size(1), rows, cols).ok());
  ATTNLAB_ASSIGN_OR_RETURN(const at::Tensor half, Float16Scales(scales));
  return std::make_shared<AwqMatrix>(rows, cols, PackColumns(codes.t()), PackColumns(zeros.t()),
                                     half.t().contiguous());
}

Json AwqConfig(int64_t group_size) {
  Json config = Json::MakeObject();
  config.Set("quant_method", "awq")
      .Set("bits", kBits)
      .Set("group_size", group_size == 0 ? int64_t{-1} : group_size)
      .Set("zero_point", true)
      .Set("version", "gemm")
      .Set("modules_to_not_convert", Json());
  return config;
}

absl::StatusOr<std::shared_ptr<const StoredMatrix>> ReadAwqMatrix(MatrixTensors& tensors,
                                                                  int64_t rows, int64_t cols,
                                                                  const JsonRef& config) {
  ATTNLAB_RETURN_IF_ERROR(CheckVersion(config));
  ATTNLAB_ASSIGN_OR_RETURN(const int64_t bits, config["bits"].Integer());
  ATTNLAB_ASSIGN_OR_RETURN(int64_t group_size, config["group_size"].Integer());
  if (group_size == -1) group_size = cols;
  const absl::Status status = group_size == 0 ? config["group_size"].Error("must not be 0")
                                              : CheckAwqFormat(bits, group_size, rows, cols);
  if (!status.ok()) return Annotate(status, tensors.name());
  const int64_t words = rows / kPerWord, groups = cols / group_size;
  ATTNLAB_ASSIGN_OR_RETURN(at::Tensor qweight, tensors.Take("qweight", at::kInt, {cols, words}));
  ATTNLAB_ASSIGN_OR_RETURN(at::Tensor qzeros, tensors.Take("qzeros", at::kInt, {groups, words}));
  ATTNLAB_ASSIGN_OR_RETURN(at::Tensor scales, tensors.Take("scales", at::kHalf, {groups, rows}));
  if (!scales.isfinite().all().item<bool>()) {
    return tensors.Error("scales", "has a number that is not finite");
  }
  return std::make_shared<AwqMatrix>(rows, cols, std::move(qweight), std::move(qzeros),
                                     std::move(scales));
}

}  // namespace attnlab
