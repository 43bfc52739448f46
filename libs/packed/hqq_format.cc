#include "libs/packed/hqq_format.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "libs/core/check.h"
#include "libs/core/status.h"
#include "libs/packed/format_list.h"

namespace attnlab {
namespace {

constexpr int64_t kLargestGroup = int64_t{1} << 20;

struct Packing {
  int64_t bits;
  const char* name;
  int64_t width;  // bits of a code's slot
  int64_t slots;  // codes a word
  at::ScalarType word;
  const char* word_name;
};
constexpr Packing kPackings[] = {
    {8, "8bit_u8", 8, 1, at::kByte, "torch.uint8"}, {6, "8bit_u8", 8, 1, at::kByte, "torch.uint8"},
    {5, "8bit_u8", 8, 1, at::kByte, "torch.uint8"}, {4, "4bit_u8", 4, 2, at::kByte, "torch.uint8"},
    {3, "3bit_32", 3, 10, at::kInt, "torch.int32"}, {2, "2bit_u8", 2, 4, at::kByte, "torch.uint8"},
    {1, "1bit_u8", 1, 8, at::kByte, "torch.uint8"},
};

const Packing* FindPacking(int64_t bits) {
  for (const Packing& packing : kPackings) {
    if (packing.bits == bits) return &packing;
  }
  return nullptr;
}

// [R, m] -> [ceil(R / slots), m].
at::Tensor Pack(const at::Tensor& codes, const Packing& packing) {
  const int64_t rows = codes.size(0), step = (rows + packing.slots - 1) / packing.slots;
  const at::Tensor source = codes.to(packing.word);
  if (packing.slots == 1) return source.clone();
  at::Tensor words = at::zeros({step, codes.size(1)}, source.options());
  for (int64_t slot = 0; slot < packing.slots && slot * step < rows; ++slot) {
    const int64_t count = std::min(step, rows - slot * step);
    words.narrow(0, 0, count)
        .bitwise_or_(source.narrow(0, slot * step, count)
                         .bitwise_left_shift(packing.width * (packing.slots - 1 - slot)));
  }
  return words;
}

// The reverse of Pack, for the first `rows` rows: [rows, m] float32.
at::Tensor Unpack(const at::Tensor& words, const Packing& packing, int64_t rows) {
  if (packing.slots == 1) return words.to(at::kFloat);
  const int64_t step = words.size(0), mask = (int64_t{1} << packing.width) - 1;
  at::Tensor codes = at::empty({rows, words.size(1)}, words.options().dtype(at::kFloat));
  for (int64_t slot = 0; slot < packing.slots && slot * step < rows; ++slot) {
    const int64_t count = std::min(step, rows - slot * step);
    codes.narrow(0, slot * step, count)
        .copy_(words.narrow(0, 0, count)
                   .bitwise_right_shift(packing.width * (packing.slots - 1 - slot))
                   .bitwise_and(mask));
  }
  return codes;
}

// What the package keeps beside numbers: a flag, an integer, the bytes of a text.
at::Tensor Flag(bool value) { return at::scalar_tensor(value, at::kByte); }
at::Tensor Integer(int64_t value) { return at::scalar_tensor(value, at::kInt); }
at::Tensor Text(const std::string& text) {
  return at::tensor(std::vector<uint8_t>(text.begin(), text.end()), at::kByte);
}

// The package's own default for the start of its solver.
bool RoundsZero(const HqqFormat& format) { return format.bits == 4; }

int64_t GroupSize(const HqqFormat& format, int64_t rows, int64_t cols) {
  if (format.group_size != 0) return format.group_size;
  return format.axis == 1 ? cols : rows;
}

class HqqMatrix : public StoredMatrix {
 public:
  HqqMatrix(int64_t rows, int64_t cols, const HqqFormat& format, at::Tensor words, at::Tensor scale,
            at::Tensor zero)
      : StoredMatrix(rows, cols),
        format_(format),
        packing_(*FindPacking(format.bits)),
        words_(std::move(words)),
        scale_(std::move(scale)),
        zero_(std::move(zero)) {}

  at::Tensor Dense(at::ScalarType dtype) const override {
    at::Tensor numbers = Unpack(words_, packing_, GroupedView(format_, rows(), cols()).rows);
    numbers.sub_(zero_).mul_(scale_);
    return numbers.view({rows(), cols()}).to(dtype);
  }

  SuffixedTensors Tensors() const override {
    const bool half = scale_.scalar_type() == at::kHalf;
    const char* dtype = half                                    ? "torch.float16"
                        : scale_.scalar_type() == at::kBFloat16 ? "torch.bfloat16"
                                                                : "torch.float32";
    return {{"W_q", words_},
            {"scale", scale_},
            {"zero", zero_},
            {"nbits", Integer(format_.bits)},
            {"group_size", Integer(GroupSize(format_, rows(), cols()))},
            {"axis", Integer(format_.axis)},
            {"shape", at::tensor({rows(), cols()}, at::kLong)},
            {"packing", Text(packing_.name)},
            {"unpack_view_dtype", Text(packing_.word_name)},
            {"compute_dtype", Text(dtype)},
            {"round_zero", Flag(RoundsZero(format_))},
            {"channel_wise", Flag(true)},
            {"optimize", Flag(true)},
            {"view_as_float", Flag(false)},
            {"quant_scale", Flag(false)},
            {"quant_zero", Flag(false)},
            {"offload_meta", Flag(false)},
            {"encoded_state_dict", Flag(true)},
            {"stores_quant_config", Flag(true)}};
  }

  std::shared_ptr<const StoredMatrix> To(at::Device device) const override {
    return std::make_shared<HqqMatrix>(rows(), cols(), format_, words_.to(device),
                                       scale_.to(device), zero_.to(device));
  }

 private:
  const HqqFormat format_;
  const Packing packing_;
  const at::Tensor words_, scale_, zero_;
};

absl::StatusOr<int64_t> TakeInteger(MatrixTensors& tensors, const char* suffix) {
  ATTNLAB_ASSIGN_OR_RETURN(const at::Tensor tensor, tensors.Take(suffix, at::kInt, {}));
  return tensor.item<int64_t>();
}

// Marks that change what the numbers mean must be off; the others may say what they like.
absl::Status TakeMarks(MatrixTensors& tensors) {
  for (const char* suffix : {"view_as_float", "quant_scale", "quant_zero"}) {
    if (!tensors.Has(suffix)) continue;
    ATTNLAB_ASSIGN_OR_RETURN(const at::Tensor mark, tensors.Take(suffix, at::kByte, {}));
    if (mark.item<int64_t>() != 0) return tensors.Error(suffix, "is set, which is not supported");
  }
  for (const char* suffix :
       {"packing", "unpack_view_dtype", "compute_dtype", "round_zero", "channel_wise", "optimize",
        "offload_meta", "encoded_state_dict", "stores_quant_config"}) {
    if (!tensors.Has(suffix)) continue;
    ATTNLAB_RETURN_IF_ERROR(tensors.Take(suffix).status());
  }
  return absl::OkStatus();
}

// A scale or a zero a group.
absl::StatusOr<at::Tensor> TakeOfGroups(MatrixTensors& tensors, const char* suffix,
                                        const HqqFormat& format, const HqqView& view) {
  const std::vector<int64_t> shape =
      format.axis == 1 ? std::vector<int64_t>{view.rows, 1} : std::vector<int64_t>{1, view.cols};
  ATTNLAB_ASSIGN_OR_RETURN(at::Tensor tensor, tensors.Take(suffix));
  const at::ScalarType dtype = tensor.scalar_type();
  if ((dtype != at::kFloat && dtype != at::kHalf && dtype != at::kBFloat16) ||
      tensor.sizes() != shape) {
    return tensors.Error(suffix, absl::StrCat("must be float32, float16 or bfloat16 [", shape[0],
                                              ", ", shape[1], "]"));
  }
  if (!tensor.isfinite().all().item<bool>()) {
    return tensors.Error(suffix, "has a number that is not finite");
  }
  return tensor;
}

}  // namespace

HqqView GroupedView(const HqqFormat& format, int64_t rows, int64_t cols) {
  const int64_t group = GroupSize(format, rows, cols), groups = rows * cols / group;
  return format.axis == 1 ? HqqView{groups, group} : HqqView{group, groups};
}

absl::Status CheckHqqFormat(const HqqFormat& format, int64_t rows, int64_t cols) {
  const Packing* packing = FindPacking(format.bits);
  if (packing == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("bits = ", format.bits, ": HQQ knows 8, 6, 5, 4, 3, 2 and 1"));
  }
  if (format.axis != 0 && format.axis != 1) {
    return absl::InvalidArgumentError(absl::StrCat("axis = ", format.axis, ": must be 0 or 1"));
  }
  if (format.group_size < 0 || format.group_size > kLargestGroup || format.group_size % 8 != 0) {
    return absl::InvalidArgumentError(absl::StrCat("group_size = ", format.group_size,
                                                   ": must be a multiple of 8 up to ",
                                                   kLargestGroup, ", or 0"));
  }
  const int64_t group = GroupSize(format, rows, cols);
  if (group == 0 || rows * cols % group != 0) {
    return absl::InvalidArgumentError(absl::StrCat("group_size = ", format.group_size,
                                                   " does not divide the ", rows, " x ", cols,
                                                   " weights of the matrix"));
  }
  const int64_t packed = GroupedView(format, rows, cols).rows;
  if (format.bits != 3 && packed % packing->slots != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a matrix of ", rows, " x ", cols, " in groups of ", group, " along axis ", format.axis,
        " has ", packed, " rows of ", format.bits, "-bit codes, which must be a multiple of ",
        packing->slots, "; choose another group_size"));
  }
  return absl::OkStatus();
}

std::shared_ptr<const StoredMatrix> MakeHqqMatrix(const at::Tensor& codes, const at::Tensor& scale,
                                                  const at::Tensor& zero, const HqqFormat& format,
                                                  int64_t rows, int64_t cols) {
  ATTNLAB_CHECK(CheckHqqFormat(format, rows, cols).ok());
  const HqqView view = GroupedView(format, rows, cols);
  ATTNLAB_CHECK(codes.dim() == 2 && codes.size(0) == view.rows && codes.size(1) == view.cols);
  return std::make_shared<HqqMatrix>(rows, cols, format,
                                     Pack(codes, *FindPacking(format.bits)).contiguous(),
                                     scale.contiguous(), zero.contiguous());
}

Json HqqConfig(const HqqFormat& format) {
  Json weights = Json::MakeObject();
  weights.Set("axis", format.axis)
      .Set("channel_wise", true)
      .Set("group_size", format.group_size == 0 ? Json() : Json(format.group_size))
      .Set("nbits", format.bits)
      .Set("optimize", true)
      .Set("round_zero", RoundsZero(format))
      .Set("view_as_float", false);
  Json settings = Json::MakeObject();
  settings.Set("offload_meta", false)
      .Set("scale_quant_params", Json())
      .Set("weight_quant_params", std::move(weights))
      .Set("zero_quant_params", Json());
  Json config = Json::MakeObject();
  config.Set("quant_config", std::move(settings))
      .Set("quant_method", "hqq")
      .Set("skip_modules", Json::MakeArray().Append("lm_head"));
  return config;
}

// The tensors say all; what config.json repeats of it is the wish that they were made from.
absl::StatusOr<std::shared_ptr<const StoredMatrix>> ReadHqqMatrix(MatrixTensors& tensors,
                                                                  int64_t rows, int64_t cols,
                                                                  const JsonRef& /*config*/) {
  HqqFormat format;
  ATTNLAB_ASSIGN_OR_RETURN(format.bits, TakeInteger(tensors, "nbits"));
  ATTNLAB_ASSIGN_OR_RETURN(format.group_size, TakeInteger(tensors, "group_size"));
  ATTNLAB_ASSIGN_OR_RETURN(format.axis, TakeInteger(tensors, "axis"));
  if (const absl::Status status = CheckHqqFormat(format, rows, cols); !status.ok()) {
    return Annotate(status, tensors.name());
  }
  ATTNLAB_ASSIGN_OR_RETURN(const at::Tensor shape, tensors.Take("shape", at::kLong, {2}));
  if (shape[0].item<int64_t>() != rows || shape[1].item<int64_t>() != cols) {
    return tensors.Error("shape", absl::StrCat("is not ", rows, " x ", cols));
  }
  ATTNLAB_RETURN_IF_ERROR(TakeMarks(tensors));
  const HqqView view = GroupedView(format, rows, cols);
  const Packing& packing = *FindPacking(format.bits);
  const int64_t words = (view.rows + packing.slots - 1) / packing.slots;
  ATTNLAB_ASSIGN_OR_RETURN(at::Tensor codes, tensors.Take("W_q", packing.word, {words, view.cols}));
  ATTNLAB_ASSIGN_OR_RETURN(at::Tensor scale, TakeOfGroups(tensors, "scale", format, view));
  ATTNLAB_ASSIGN_OR_RETURN(at::Tensor zero, TakeOfGroups(tensors, "zero", format, view));
  if (scale.scalar_type() != zero.scalar_type()) {
    return tensors.Error("zero", "has another dtype than scale");
  }
  return std::make_shared<HqqMatrix>(rows, cols, format, std::move(codes), std::move(scale),
                                     std::move(zero));
}

}  // namespace attnlab
