// NF4 and FP4: the matrix in its stored form, made and read.

#include <ATen/TensorOperators.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/stack.h>

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "libs/core/check.h"
#include "libs/core/status.h"
#include "libs/packed/bitsandbytes_codes.h"
#include "libs/packed/bitsandbytes_format.h"

namespace attnlab {
namespace {

struct FourBitParts {
  FourBitType type = FourBitType::kNf4;
  int64_t block_size = 64;
  at::ScalarType dtype = at::kFloat;  // of the matrix before; its numbers are of this type again
  at::Tensor codes;                   // [numbers / 2, rounded up; 1] uint8, the first number high
  at::Tensor absmax;                  // [blocks] float32, or uint8 codes of `nested`
  Nested nested;                      // map undefined: none
};

const char* TypeName(FourBitType type) { return type == FourBitType::kNf4 ? "nf4" : "fp4"; }

const char* DtypeName(at::ScalarType dtype) {
  return dtype == at::kFloat ? "float32" : dtype == at::kHalf ? "float16" : "bfloat16";
}

class FourBitMatrix : public StoredMatrix {
 public:
  FourBitMatrix(int64_t rows, int64_t cols, FourBitParts parts)
      : StoredMatrix(rows, cols), parts_(std::move(parts)) {}

  at::Tensor Dense(at::ScalarType dtype) const override {
    const at::Tensor bytes = parts_.codes.flatten();
    const at::Tensor codes =
        at::stack({bytes.bitwise_right_shift(4), bytes.bitwise_and(15)}, 1).flatten();
    const at::Tensor values = FourBitValues(parts_.type).to(codes.device());
    return ExpandBlocks(codes.slice(0, 0, rows() * cols()), values, Magnitudes(), parts_.block_size)
        .view({rows(), cols()})
        .to(parts_.dtype)
        .to(dtype);
  }

  SuffixedTensors Tensors() const override {
    SuffixedTensors tensors = {{"weight", parts_.codes}, {"weight.absmax", parts_.absmax}};
    if (parts_.nested.map.defined()) {
      tensors.emplace_back("weight.nested_absmax", parts_.nested.absmax);
      tensors.emplace_back("weight.nested_quant_map", parts_.nested.map);
    }
    tensors.emplace_back("weight.quant_map", FourBitValues(parts_.type));
    tensors.emplace_back(absl::StrCat("weight.quant_state.bitsandbytes__", TypeName(parts_.type)),
                         State());
    return tensors;
  }

  std::shared_ptr<const StoredMatrix> To(at::Device device) const override {
    FourBitParts parts = parts_;
    for (at::Tensor* tensor :
         {&parts.codes, &parts.absmax, &parts.nested.absmax, &parts.nested.map}) {
      if (tensor->defined()) *tensor = tensor->to(device);
    }
    return std::make_shared<FourBitMatrix>(rows(), cols(), std::move(parts));
  }

 private:
  at::Tensor Magnitudes() const {
    if (!parts_.nested.map.defined()) return parts_.absmax;
    return ExpandBlocks(parts_.absmax, parts_.nested.map, parts_.nested.absmax, kNestedBlock) +
           parts_.nested.offset;
  }

  // The JSON text in which bitsandbytes keeps what is no tensor.
  at::Tensor State() const {
    Json state = Json::MakeObject();
    state.Set("quant_type", TypeName(parts_.type))
        .Set("blocksize", parts_.block_size)
        .Set("dtype", DtypeName(parts_.dtype))
        .Set("shape", Json(Json::Array{rows(), cols()}));
    if (parts_.nested.map.defined()) {
      state.Set("nested_blocksize", kNestedBlock)
          .Set("nested_dtype", "float32")
          .Set("nested_offset", parts_.nested.offset);
    }
    std::string text = state.Dump();
    return at::from_blob(text.data(), {static_cast<int64_t>(text.size())}, at::kByte).clone();
  }

  const FourBitParts parts_;
};

absl::Status CheckFinite(const MatrixTensors& tensors, const std::string& suffix,
                         const at::Tensor& tensor) {
  if (tensor.isfinite().all().item<bool>()) return absl::OkStatus();
  return tensors.Error(suffix, "has a number that is not finite");
}

// What is read of weight.quant_state.*: type, block size, dtype, and the offset when nested.
absl::Status ReadState(MatrixTensors& tensors, const std::string& suffix, int64_t rows,
                       int64_t cols, bool nested, FourBitParts& parts) {
  ATTNLAB_ASSIGN_OR_RETURN(const at::Tensor bytes, tensors.Take(suffix));
  if (bytes.scalar_type() != at::kByte || bytes.dim() != 1) {
    return tensors.Error(suffix, "is not a row of bytes");
  }
  const at::Tensor text = bytes.contiguous();
  const std::string source = absl::StrCat(tensors.name(), ".", suffix);
  ATTNLAB_ASSIGN_OR_RETURN(
      const Json json,
      Json::Parse(absl::string_view(reinterpret_cast<const char*>(text.const_data_ptr<uint8_t>()),
                                    text.size(0)),
                  source));
  const JsonRef state(json, source);
  ATTNLAB_ASSIGN_OR_RETURN(parts.block_size, state["blocksize"].Integer());
  ATTNLAB_RETURN_IF_ERROR(Annotate(
      Validate(FourBitOptions{.type = parts.type, .block_size = parts.block_size}), source));
  ATTNLAB_ASSIGN_OR_RETURN(const std::vector<int64_t> shape, state["shape"].Integers());
  if (shape != std::vector<int64_t>{rows, cols}) {
    return state["shape"].Error(absl::StrCat("expected [", rows, ", ", cols, "]"));
  }
  ATTNLAB_ASSIGN_OR_RETURN(const absl::string_view dtype, state["dtype"].String());
  for (const at::ScalarType known : {at::kFloat, at::kHalf, at::kBFloat16}) {
    if (dtype == DtypeName(known)) parts.dtype = known;
  }
  if (dtype != DtypeName(parts.dtype)) {
    return state["dtype"].Error("must be float32, float16 or bfloat16");
  }
  if (!nested) return absl::OkStatus();
  ATTNLAB_ASSIGN_OR_RETURN(const int64_t nested_block, state["nested_blocksize"].Integer());
  if (nested_block != kNestedBlock) {
    return state["nested_blocksize"].Error(absl::StrCat("must be ", kNestedBlock));
  }
  ATTNLAB_ASSIGN_OR_RETURN(parts.nested.offset, state["nested_offset"].Number());
  if (!std::isfinite(parts.nested.offset)) return state["nested_offset"].Error("is not finite");
  return absl::OkStatus();
}

}  // namespace

absl::Status Validate(const FourBitOptions& options) {
  const int64_t size = options.block_size;
  if (size >= 32 && size <= 4096 && (size & (size - 1)) == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("block_size = ", size, ": must be a power of two from 32 to 4096"));
}

std::shared_ptr<const StoredMatrix> QuantizeFourBit(const at::Tensor& weight,
                                                    const FourBitOptions& options) {
  ATTNLAB_CHECK(weight.dim() == 2 && weight.scalar_type() == at::kFloat);
  ATTNLAB_CHECK(Validate(options).ok());
  FourBitParts parts = {.type = options.type, .block_size = options.block_size};
  auto [absmax, scaled] = ScaleBlocks(weight.detach().flatten(), options.block_size);
  parts.codes = FourBitCodes(at::constant_pad_nd(scaled, {0, scaled.size(0) % 2}), options.type);
  parts.absmax = options.double_quant ? QuantizeMagnitudes(absmax, parts.nested) : absmax;
  return std::make_shared<FourBitMatrix>(weight.size(0), weight.size(1), std::move(parts));
}

absl::StatusOr<std::shared_ptr<const StoredMatrix>> ReadFourBit(MatrixTensors& tensors,
                                                                int64_t rows, int64_t cols,
                                                                FourBitType type) {
  FourBitParts parts = {.type = type};
  const bool nested = tensors.Has("weight.nested_absmax");
  const std::string state = absl::StrCat("weight.quant_state.bitsandbytes__", TypeName(parts.type));
  ATTNLAB_RETURN_IF_ERROR(ReadState(tensors, state, rows, cols, nested, parts));
  const int64_t count = rows * cols, blocks = Blocks(count, parts.block_size);
  ATTNLAB_ASSIGN_OR_RETURN(parts.codes, tensors.Take("weight", at::kByte, {(count + 1) / 2, 1}));
  ATTNLAB_ASSIGN_OR_RETURN(
      parts.absmax, tensors.Take("weight.absmax", nested ? at::kByte : at::kFloat, {blocks}));
  if (nested) {
    ATTNLAB_ASSIGN_OR_RETURN(parts.nested.absmax, tensors.Take("weight.nested_absmax", at::kFloat,
                                                               {Blocks(blocks, kNestedBlock)}));
    ATTNLAB_ASSIGN_OR_RETURN(parts.nested.map,
                             tensors.Take("weight.nested_quant_map", at::kFloat, {256}));
    ATTNLAB_RETURN_IF_ERROR(CheckFinite(tensors, "weight.nested_absmax", parts.nested.absmax));
    ATTNLAB_RETURN_IF_ERROR(CheckFinite(tensors, "weight.nested_quant_map", parts.nested.map));
  } else {
    ATTNLAB_RETURN_IF_ERROR(CheckFinite(tensors, "weight.absmax", parts.absmax));
  }
  ATTNLAB_ASSIGN_OR_RETURN(const at::Tensor values,
                           tensors.Take("weight.quant_map", at::kFloat, {16}));
  if (!(values - FourBitValues(type)).abs().lt(1e-6).all().item<bool>()) {
    return tensors.Error("weight.quant_map",
                         absl::StrCat("does not hold the values of ", TypeName(type)));
  }
  return std::make_shared<FourBitMatrix>(rows, cols, std::move(parts));
}

}  // namespace attnlab
