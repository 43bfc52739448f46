// Weights, activations and keys and values with few bits, each rounded to nearest: W8A8, W4A4KV4;
// plain, or with the rotations of QuaRot (Ashkboos et al. 2024): the residual stream and the heads'
// values in the weights, the input of down_proj and queries and keys while the model runs.

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "libs/compress/method_list.h"
#include "libs/compress/rotation.h"
#include "libs/core/status.h"
#include "libs/packed/int_format.h"

namespace attnlab {
namespace {

struct Settings {
  int64_t bits = 8;
  int64_t activation_bits = 8;
  int64_t kv_bits = 0;
  std::string rotation = "none";
  int64_t seed = 0;

  template <class Visitor>
  void ForEach(Visitor&& visit) {
    visit("bits", bits, "bits of a stored weight: 8 or 4");
    visit("activation_bits", activation_bits, "bits of a matrix's input: 8, 4, or 0 = as it is");
    visit("kv_bits", kv_bits, "bits of a key or value number: 8, 4, 2, or 0 = as it is");
    visit("rotation", rotation, "none or hadamard");
    visit("seed", seed, "of the rotation's random signs");
  }
};

class Int : public Method {
 public:
  explicit Int(const Settings& settings) : settings_(settings) {}

  std::vector<MethodSetting> settings() const override { return DescribeSettings(settings_); }

  absl::Status Check(const ModelConfig& config) const override {
    if (rotates()) ATTNLAB_RETURN_IF_ERROR(CheckRotation(config));
    ATTNLAB_RETURN_IF_ERROR(Annotate(Validate(KvCache(), config.HeadDim()), "kv"));
    return CheckMatrices(config, [&](const std::string& name, int64_t rows, int64_t cols) {
      if (settings_.bits == 8 || cols % 2 == 0) return absl::OkStatus();
      return absl::InvalidArgumentError(
          absl::StrCat("bits = 4: ", name, " has ", cols, " inputs; only an even number packs"));
    });
  }

  absl::Status PrepareModel(Transformer& model, const at::Tensor& /*tokens*/) const override {
    if (rotates()) {
      ATTNLAB_RETURN_IF_ERROR(RotateModel(model, static_cast<uint64_t>(settings_.seed)));
    }
    if (settings_.kv_bits > 0) model.SetKvCache(KvCache());
    return absl::OkStatus();
  }

  absl::StatusOr<CompressedMatrix> Compress(const MatrixWork& work) const override {
    const bool hadamard = rotates() && work.slot == MatrixSlot::kDown;
    return CompressedMatrix{QuantizeInt(work.weight, Options(), hadamard), {}};
  }

  Json QuantizationConfig() const override {
    std::vector<std::string> hadamard;
    if (rotates()) hadamard.push_back(SlotName(MatrixSlot::kDown));
    return IntConfig(Options(), hadamard);
  }

 private:
  bool rotates() const { return settings_.rotation == "hadamard"; }
  IntOptions Options() const { return {settings_.bits, settings_.activation_bits}; }
  KvQuantization KvCache() const { return {.bits = settings_.kv_bits, .rotate = rotates()}; }

  const Settings settings_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Method>> MakeInt(const Recipe& recipe) {
  Settings settings;
  ATTNLAB_RETURN_IF_ERROR(recipe.Read(settings));
  ATTNLAB_RETURN_IF_ERROR(Validate(IntOptions{settings.bits, settings.activation_bits}));
  if (settings.rotation != "none" && settings.rotation != "hadamard") {
    return absl::InvalidArgumentError(
        absl::StrCat("rotation = \"", settings.rotation, "\": must be none or hadamard"));
  }
  return std::make_unique<Int>(settings);
}

}  // namespace attnlab
