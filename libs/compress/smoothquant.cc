// SmoothQuant (Xiao et al. 2022, arXiv:2211.10438): before weights and activations are rounded to 8
// bits, factors
//
//     s_j = max|x_j|^alpha / max_i|W_ij|^(1 - alpha)
//
// move from the inputs of q, k, v and of gate, up into the weights; o and down stay as they are.
// The maxima are those of the model as it was, all layers alike, as in the authors' program.

#include <ATen/ops/cat.h>

#include <vector>

#include "libs/compress/input_scales.h"
#include "libs/compress/method_list.h"
#include "libs/core/status.h"
#include "libs/packed/int_format.h"

namespace attnlab {
namespace {

constexpr double kLeast = 1e-5;  // of factors and of the weights' maxima

struct Settings {
  double alpha = 0.5;

  template <class Visitor>
  void ForEach(Visitor&& visit) {
    visit("alpha", alpha, "0: all of the difficulty stays in the activations; 1: weights take it");
  }
};

at::Tensor SmoothingScales(const Transformer& model, int64_t layer, SlotGroup group,
                           const InputMoments& inputs, double alpha) {
  std::vector<at::Tensor> weights;
  for (const MatrixSlot slot : group) weights.push_back(model.Matrix(layer, slot));
  const at::Tensor largest = at::cat(weights).abs().amax(0).to(at::kFloat).clamp_min(kLeast);
  return inputs.abs_max.pow(alpha).div_(largest.pow(1 - alpha)).clamp_min_(kLeast);
}

class SmoothQuant : public Method {
 public:
  explicit SmoothQuant(const Settings& settings) : settings_(settings) {}

  std::vector<MethodSetting> settings() const override { return DescribeSettings(settings_); }
  CalibrationNeeds needs() const override { return {.inputs = true}; }
  absl::Status Check(const ModelConfig& config) const override { return absl::OkStatus(); }
  bool prepares_layers() const override { return true; }
  bool original_inputs() const override { return true; }

  absl::Status PrepareLayer(Transformer& model, int64_t layer,
                            const LayerInputs& inputs) const override {
    using enum MatrixSlot;
    const auto smooth = [&](SlotGroup group, const InputMoments& moments) {
      ScaleBehindNorm(model, layer, group,
                      SmoothingScales(model, layer, group, moments, settings_.alpha));
    };
    smooth({kQ, kK, kV}, inputs.attention);
    smooth({kGate, kUp}, inputs.mlp);
    return absl::OkStatus();
  }

  absl::StatusOr<CompressedMatrix> Compress(const MatrixWork& work) const override {
    return CompressedMatrix{QuantizeInt(work.weight, kEightBits), {}};
  }

  Json QuantizationConfig() const override { return IntConfig(kEightBits); }

 private:
  static constexpr IntOptions kEightBits = {.bits = 8, .activation_bits = 8};

  const Settings settings_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Method>> MakeSmoothQuant(const Recipe& recipe) {
  Settings settings;
  ATTNLAB_RETURN_IF_ERROR(recipe.Read(settings));
  if (!(settings.alpha >= 0 && settings.alpha <= 1)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("alpha = %g: must be from 0 to 1", settings.alpha));
  }
  return std::make_unique<SmoothQuant>(settings);
}

}  // namespace attnlab
