// The methods of bitsandbytes: NF4, FP4 and LLM.int8(). None looks at text.

#include "absl/strings/str_cat.h"
#include "libs/compress/method_list.h"
#include "libs/core/status.h"
#include "libs/packed/bitsandbytes_format.h"

namespace attnlab {
namespace {

struct FourBitSettings {
  int64_t block_size = 64;
  bool double_quant = false;

  template <class Visitor>
  void ForEach(Visitor&& visit) {
    visit("block_size", block_size, "weights that share a magnitude: 32, 64, ... 4096");
    visit("double_quant", double_quant, "magnitudes with 8 bits a piece");
  }
};

class FourBit : public Method {
 public:
  FourBit(FourBitType type, const FourBitSettings& settings)
      : settings_(settings), options_{type, settings.block_size, settings.double_quant} {}

  std::vector<MethodSetting> settings() const override { return DescribeSettings(settings_); }
  absl::Status Check(const ModelConfig& config) const override { return absl::OkStatus(); }
  absl::StatusOr<CompressedMatrix> Compress(const MatrixWork& work) const override {
    return CompressedMatrix{QuantizeFourBit(work.weight, options_), {}};
  }
  Json QuantizationConfig() const override { return FourBitConfig(options_); }

 private:
  const FourBitSettings settings_;
  const FourBitOptions options_;
};

struct Int8Settings {
  double threshold = 6.0;

  template <class Visitor>
  void ForEach(Visitor&& visit) {
    visit("threshold", threshold,
          "an input column with a number at least so large is not rounded; 0 = all are");
  }
};

class LlmInt8 : public Method {
 public:
  explicit LlmInt8(const Int8Settings& settings) : settings_(settings) {}

  std::vector<MethodSetting> settings() const override { return DescribeSettings(settings_); }
  absl::Status Check(const ModelConfig& config) const override { return absl::OkStatus(); }
  absl::StatusOr<CompressedMatrix> Compress(const MatrixWork& work) const override {
    if (!work.weight.to(at::kHalf).isfinite().all().item<bool>()) {
      return absl::InvalidArgumentError(
          "a weight does not fit float16 (at most 65504), to which LLM.int8() rounds first; use a "
          "method that keeps float32, such as bnb_nf4");
    }
    return CompressedMatrix{QuantizeLlmInt8(work.weight, settings_.threshold), {}};
  }
  Json QuantizationConfig() const override { return LlmInt8Config(settings_.threshold); }

 private:
  const Int8Settings settings_;
};

absl::StatusOr<std::unique_ptr<Method>> MakeFourBit(FourBitType type, const Recipe& recipe) {
  FourBitSettings settings;
  ATTNLAB_RETURN_IF_ERROR(recipe.Read(settings));
  ATTNLAB_RETURN_IF_ERROR(Validate(FourBitOptions{.block_size = settings.block_size}));
  return std::make_unique<FourBit>(type, settings);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Method>> MakeBnbNf4(const Recipe& recipe) {
  return MakeFourBit(FourBitType::kNf4, recipe);
}

absl::StatusOr<std::unique_ptr<Method>> MakeBnbFp4(const Recipe& recipe) {
  return MakeFourBit(FourBitType::kFp4, recipe);
}

absl::StatusOr<std::unique_ptr<Method>> MakeBnbInt8(const Recipe& recipe) {
  Int8Settings settings;
  ATTNLAB_RETURN_IF_ERROR(recipe.Read(settings));
  if (!(settings.threshold >= 0)) {
    return absl::InvalidArgumentError(
        absl::StrCat("threshold = ", settings.threshold, ": must be at least 0"));
  }
  return std::make_unique<LlmInt8>(settings);
}

}  // namespace attnlab
