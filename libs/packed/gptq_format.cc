#include "libs/packed/gptq_format.h"

#include <ATen/TensorOperators.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/core/check.h"
#include "libs/core/status.h"
#include "libs/packed/bits.h"
#include "libs/packed/format_list.h"
#include "libs/packed/group_grids.h"

namespace attnlab {
namespace {

class GptqMatrix : public StoredMatrix {
 public:
  // `offset` is what the stored zeros lack: 1 in version 1, 0 in version 2.
  GptqMatrix(int64_t rows, int64_t cols, int64_t bits, int64_t offset, at::Tensor qweight,
             at::Tensor qzeros, at::Tensor scales, at::Tensor g_idx)
      : StoredMatrix(rows, cols),
        bits_(bits),
        offset_(offset),
        qweight_(std::move(qweight)),
        qzeros_(std::move(qzeros)),
        scales_(std::move(scales)),
        g_idx_(std::move(g_idx)) {}

  at::Tensor Dense(at::ScalarType dtype) const override {
    const at::Tensor zeros = UnpackRows(qzeros_.t(), bits_).t().to(at::kFloat) + offset_;
    return NumbersOfGrids(UnpackRows(qweight_, bits_), zeros, scales_.to(at::kFloat),
                          g_idx_.to(at::kLong))
        .to(dtype);
  }

  SuffixedTensors Tensors() const override {
    return {{"qweight", qweight_}, {"qzeros", qzeros_}, {"scales", scales_}, {"g_idx", g_idx_}};
  }

  std::shared_ptr<const StoredMatrix> To(at::Device device) const override {
    return std::make_shared<GptqMatrix>(rows(), cols(), bits_, offset_, qweight_.to(device),
                                        qzeros_.to(device), scales_.to(device), g_idx_.to(device));
  }

 private:
  const int64_t bits_, offset_;
  const at::Tensor qweight_, qzeros_, scales_, g_idx_;
};

// Version 1 keeps zeros less one.
int64_t ZeroOffset(const GptqFormat& format) { return format.symmetric ? 1 : 0; }

absl::StatusOr<int64_t> ZeroOffset(const JsonRef& config) {
  ATTNLAB_ASSIGN_OR_RETURN(const std::string version, config["checkpoint_format"].StringOr("gptq"));
  if (version == "gptq") return 1;
  if (version == "gptq_v2") return 0;
  return config["checkpoint_format"].Error(
      absl::StrCat("\"", version, "\" is not gptq or gptq_v2"));
}

}  // namespace

absl::Status CheckGptqFormat(int64_t bits, int64_t rows, int64_t cols) {
  if (bits != 2 && bits != 3 && bits != 4 && bits != 8) {
    return absl::InvalidArgumentError(
        absl::StrCat("bits = ", bits, ": the GPTQ layout holds 2, 3, 4 or 8"));
  }
  if (rows * bits % 32 != 0 || cols * bits % 32 != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("a matrix of ", rows, " x ", cols, ": the GPTQ layout packs ", bits,
                     "-bit numbers into words of 32 bits, which these sizes do not fill"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const StoredMatrix>> MakeGptqMatrix(const at::Tensor& codes,
                                                                   const at::Tensor& scales,
                                                                   const at::Tensor& zeros,
                                                                   const at::Tensor& group_index,
                                                                   const GptqFormat& format) {
  const int64_t rows = codes.size(0), cols = codes.size(1), bits = format.bits;
  ATTNLAB_CHECK(CheckGptqFormat(bits, rows, cols).ok());
  ATTNLAB_ASSIGN_OR_RETURN(const at::Tensor half, Float16Scales(scales));
  const int64_t offset = ZeroOffset(format);
  const at::Tensor kept = zeros.to(at::kInt) - offset;  // [rows, groups]
  ATTNLAB_CHECK(kept.min().item<int64_t>() >= 0 && kept.max().item<int64_t>() < (1 << bits));
  return std::make_shared<GptqMatrix>(rows, cols, bits, offset, PackRows(codes.t(), bits),
                                      PackRows(kept, bits).t().contiguous(), half.t().contiguous(),
                                      group_index.to(at::kInt).contiguous());
}

Json GptqConfig(const GptqFormat& format) {
  Json config = Json::MakeObject();
  config.Set("quant_method", "gptq")
      .Set("bits", format.bits)
      .Set("group_size", format.group_size == 0 ? int64_t{-1} : format.group_size)
      .Set("desc_act", format.act_order)
      .Set("sym", format.symmetric)
      .Set("checkpoint_format", ZeroOffset(format) == 1 ? "gptq" : "gptq_v2");
  return config;
}

absl::StatusOr<std::shared_ptr<const StoredMatrix>> ReadGptqMatrix(MatrixTensors& tensors,
                                                                   int64_t rows, int64_t cols,
                                                                   const JsonRef& config) {
  ATTNLAB_ASSIGN_OR_RETURN(const int64_t bits, config["bits"].Integer());
  ATTNLAB_ASSIGN_OR_RETURN(const int64_t offset, ZeroOffset(config));
  if (absl::Status status = CheckGptqFormat(bits, rows, cols); !status.ok()) {
    return Annotate(status, tensors.name());
  }
  ATTNLAB_ASSIGN_OR_RETURN(at::Tensor qweight,
                           tensors.Take("qweight", at::kInt, {cols * bits / 32, rows}));
  ATTNLAB_ASSIGN_OR_RETURN(at::Tensor scales, tensors.Take("scales"));
  if (scales.dim() != 2 || scales.size(1) != rows || scales.size(0) < 1 ||
      !at::isFloatingType(scales.scalar_type())) {
    return tensors.Error("scales", absl::StrCat("must be floating numbers [groups, ", rows, "]"));
  }
  scales = scales.to(at::kHalf);
  if (!scales.isfinite().all().item<bool>()) {
    return tensors.Error("scales", "has a number that is not finite in float16");
  }
  const int64_t groups = scales.size(0);
  ATTNLAB_ASSIGN_OR_RETURN(at::Tensor qzeros,
                           tensors.Take("qzeros", at::kInt, {groups, rows * bits / 32}));
  ATTNLAB_ASSIGN_OR_RETURN(at::Tensor g_idx, tensors.Take("g_idx", at::kInt, {cols}));
  if (g_idx.min().item<int64_t>() < 0 || g_idx.max().item<int64_t>() >= groups) {
    return tensors.Error("g_idx", absl::StrCat("names groups outside [0, ", groups, ")"));
  }
  return std::make_shared<GptqMatrix>(rows, cols, bits, offset, std::move(qweight),
                                      std::move(qzeros), std::move(scales), std::move(g_idx));
}

}  // namespace attnlab
