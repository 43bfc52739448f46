#include "libs/packed/int_format.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/stack.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "libs/attention/hadamard.h"
#include "libs/core/check.h"
#include "libs/core/status.h"
#include "libs/packed/format_list.h"
#include "libs/packed/int_product.h"

namespace attnlab {
namespace {

constexpr char kName[] = "attnlab-int";
constexpr double kSmallestMagnitude = 1e-5;
constexpr int64_t kNibbleOffset = 8;

// int8 codes in -8..7, [n, k], k even -> [n, k / 2] uint8.
at::Tensor PackNibbles(const at::Tensor& codes) {
  const at::Tensor pairs =
      (codes.to(at::kShort) + kNibbleOffset).to(at::kByte).unflatten(1, {-1, 2});
  return pairs.select(2, 0).bitwise_or(pairs.select(2, 1).bitwise_left_shift(4));
}

at::Tensor UnpackNibbles(const at::Tensor& bytes) {
  const at::Tensor pairs = at::stack({bytes.bitwise_and(15), bytes.bitwise_right_shift(4)}, 2);
  return (pairs.flatten(1).to(at::kChar) - kNibbleOffset);
}

class IntMatrix : public StoredMatrix {
 public:
  // `weight` as stored.
  IntMatrix(int64_t cols, at::Tensor weight, at::Tensor scale, const IntOptions& options,
            bool hadamard)
      : StoredMatrix(weight.size(0), cols),
        weight_(std::move(weight)),
        scale_(std::move(scale)),
        options_(options),
        hadamard_(hadamard) {}

  at::Tensor Dense(at::ScalarType dtype) const override {
    at::Tensor numbers = Codes().to(at::kFloat) * scale_.unsqueeze(1);
    if (hadamard_) {
      numbers = HadamardTransform(numbers, FindHadamard(cols()), /*inverse=*/true);
    }
    return numbers.to(dtype);
  }

  at::Tensor Product(const at::Tensor& x) const override {
    if (options_.activation_bits == 0) return StoredMatrix::Product(x);
    at::Tensor tokens = x.detach().reshape({-1, cols()}).to(at::kFloat);
    if (hadamard_) tokens = HadamardTransform(tokens);
    const auto [codes, scale] = RoundRows(tokens, options_.activation_bits);
    const at::Tensor sums = IntegerProduct(codes, Codes()).to(at::kFloat);
    std::vector<int64_t> shape = x.sizes().vec();
    shape.back() = rows();
    return (sums * scale.unsqueeze(1) * scale_.unsqueeze(0)).to(x.scalar_type()).view(shape);
  }

  SuffixedTensors Tensors() const override {
    return {{"weight", weight_}, {"weight_scale", scale_}};
  }

  std::shared_ptr<const StoredMatrix> To(at::Device device) const override {
    return std::make_shared<IntMatrix>(cols(), weight_.to(device), scale_.to(device), options_,
                                       hadamard_);
  }

 private:
  at::Tensor Codes() const { return options_.bits == 4 ? UnpackNibbles(weight_) : weight_; }

  const at::Tensor weight_, scale_;
  const IntOptions options_;
  const bool hadamard_;
};

}  // namespace

absl::Status Validate(const IntOptions& options) {
  if (options.bits != 8 && options.bits != 4) {
    return absl::InvalidArgumentError(absl::StrCat("bits = ", options.bits, ": must be 8 or 4"));
  }
  const int64_t activation = options.activation_bits;
  if (activation != 8 && activation != 4 && activation != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("activation_bits = ", activation, ": must be 8, 4, or 0 for none"));
  }
  return absl::OkStatus();
}

std::pair<at::Tensor, at::Tensor> RoundRows(const at::Tensor& x, int64_t bits) {
  const double largest = static_cast<double>((1 << (bits - 1)) - 1);
  const at::Tensor numbers = x.detach().to(at::kFloat);
  const at::Tensor scale = numbers.abs().amax(1).clamp_min(kSmallestMagnitude) / largest;
  // The scale is rounded, so the largest number may come out a hair above `largest`.
  const at::Tensor codes = (numbers / scale.unsqueeze(1)).round().clamp(-largest, largest);
  return {codes.to(at::kChar), scale};
}

std::shared_ptr<const StoredMatrix> QuantizeInt(const at::Tensor& weight, const IntOptions& options,
                                                bool hadamard) {
  ATTNLAB_CHECK(weight.dim() == 2 && Validate(options).ok());
  ATTNLAB_CHECK(options.bits == 8 || weight.size(1) % 2 == 0);
  const auto [codes, scale] =
      RoundRows(hadamard ? HadamardTransform(weight) : weight, options.bits);
  return std::make_shared<IntMatrix>(weight.size(1), options.bits == 4 ? PackNibbles(codes) : codes,
                                     scale, options, hadamard);
}

Json IntConfig(const IntOptions& options, const std::vector<std::string>& hadamard) {
  Json names = Json::MakeArray();
  for (const std::string& name : hadamard) names.Append(name);
  Json config = Json::MakeObject();
  config.Set("quant_method", kName)
      .Set("bits", options.bits)
      .Set("activation_bits", options.activation_bits)
      .Set("hadamard", std::move(names));
  return config;
}

absl::StatusOr<std::shared_ptr<const StoredMatrix>> ReadIntMatrix(MatrixTensors& tensors,
                                                                  int64_t rows, int64_t cols,
                                                                  const JsonRef& config) {
  IntOptions options;
  ATTNLAB_ASSIGN_OR_RETURN(options.bits, config["bits"].Integer());
  ATTNLAB_ASSIGN_OR_RETURN(options.activation_bits, config["activation_bits"].Integer());
  if (const absl::Status status = Validate(options); !status.ok()) {
    return config.Error(status.message());
  }
  bool hadamard = false;
  if (config["hadamard"].present()) {
    ATTNLAB_ASSIGN_OR_RETURN(const std::vector<std::string> names, config["hadamard"].Strings());
    for (const std::string& name : names) {
      hadamard = hadamard || absl::EndsWith(tensors.name(), "." + name);
    }
  }
  const bool nibbles = options.bits == 4;
  if (nibbles && cols % 2 != 0) {
    return tensors.Error("weight", absl::StrCat("of 4 bits cannot have ", cols, " columns"));
  }
  ATTNLAB_ASSIGN_OR_RETURN(
      at::Tensor weight,
      tensors.Take("weight", nibbles ? at::kByte : at::kChar, {rows, nibbles ? cols / 2 : cols}));
  ATTNLAB_ASSIGN_OR_RETURN(at::Tensor scale, tensors.Take("weight_scale", at::kFloat, {rows}));
  if (!scale.isfinite().all().item<bool>()) {
    return tensors.Error("weight_scale", "has a number that is not finite");
  }
  return std::make_shared<IntMatrix>(cols, std::move(weight), std::move(scale), options, hadamard);
}

}  // namespace attnlab
