// A way to make a model smaller, as the registry methods.def knows it: one file and one line each.
//
// A model is compressed a layer at a time (libs/compress/compress.h): the layer's inputs are those
// that the compressed layers before it give, unless the method asks for those of the model as it
// was, and a method sees each weight matrix with what it needs to know about the inputs of that
// matrix.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/io/json.h"
#include "libs/model/transformer.h"
#include "libs/packed/slots.h"
#include "libs/packed/stored_matrix.h"
#include "libs/recipe/recipe.h"

namespace attnlab {

// What a matrix's inputs look like over the calibration set; x is one token's input, [in]. All
// float32 on the device of the model.
struct InputMoments {
  int64_t sequences = 0, tokens = 0;
  at::Tensor square_norm;  // [in]: sum over tokens of x_j^2, divided by `sequences`
  at::Tensor abs_mean;     // [in]: mean over tokens of |x_j|
  at::Tensor abs_max;      // [in]: max over tokens of |x_j|
  at::Tensor hessian;      // [in, in]: 2 / sequences * sum over tokens of x x^T; when asked for
  at::Tensor sample;       // [n, in]: some of the tokens, evenly spaced; when asked for
};

// The inputs of a layer's matrices: of q, k and v; of o; of gate and up; of down.
struct LayerInputs {
  InputMoments attention, output, mlp, down;
  at::Tensor sequences;  // [n, T, hidden]: the residual stream before the layer; when asked for
};

struct CalibrationNeeds {
  bool text = false;             // the tokens themselves, in PrepareModel
  bool inputs = false;           // any of InputMoments
  bool hessian = false;          // InputMoments::hessian
  int64_t sample_tokens = 0;     // rows of InputMoments::sample
  int64_t sample_sequences = 0;  // rows of LayerInputs::sequences

  bool any() const { return text || inputs; }
};

struct MatrixWork {
  std::string name;  // "model.layers.0.self_attn.q_proj"
  int64_t layer = 0;
  MatrixSlot slot = MatrixSlot::kQ;
  at::Tensor weight;                     // [out, in] float32, a copy that may be changed
  const InputMoments* inputs = nullptr;  // null when the method needs none
};

// Exactly one of the two.
struct CompressedMatrix {
  std::shared_ptr<const StoredMatrix> stored;  // packed
  at::Tensor dense;                            // [out, in] float32: pruned, kept as numbers
};

// One setting of a method, with the value that it has.
struct MethodSetting {
  std::string name, value, help;
};

// The settings of a struct that lists its fields (libs/core/fields.h).
template <class Settings>
std::vector<MethodSetting> DescribeSettings(Settings settings) {
  std::vector<MethodSetting> described;
  settings.ForEach([&](const char* name, auto& value, const char* help) {
    std::ostringstream text;
    text << std::boolalpha << value;
    described.push_back({name, text.str(), help});
  });
  return described;
}

class Method {
 public:
  virtual ~Method() = default;

  // DescribeSettings of its settings.
  virtual std::vector<MethodSetting> settings() const = 0;

  virtual CalibrationNeeds needs() const { return {}; }

  // True when a layer's inputs are those that the layers before it gave before they were compressed
  // (after PrepareModel).
  virtual bool original_inputs() const { return false; }

  // InvalidArgument when the model does not suit it (a group size that does not divide).
  virtual absl::Status Check(const ModelConfig& config) const = 0;

  // Changes the whole model before the first layer (a rotation, the removal of heads).
  // `tokens` [N, T] int64 is the calibration text; undefined when the method needs none.
  virtual absl::Status PrepareModel(Transformer& model, const at::Tensor& tokens) const {
    return absl::OkStatus();
  }

  // True when PrepareLayer does something; the layer's inputs are measured again after it.
  virtual bool prepares_layers() const { return false; }

  // Changes layer `layer` before its matrices are compressed without changing what it computes
  // (scales that move from activations into weights). `inputs` by slot; q, k, v share one, gate and
  // up another.
  virtual absl::Status PrepareLayer(Transformer& model, int64_t layer,
                                    const LayerInputs& inputs) const {
    return absl::OkStatus();
  }

  // True when the inputs of o, gate and up, and down are measured again after the matrices before
  // them were compressed (GPTQ's true-sequential); false: all of a layer at once.
  virtual bool sequential() const { return false; }

  virtual absl::StatusOr<CompressedMatrix> Compress(const MatrixWork& work) const = 0;

  // The quantization_config of config.json; null when the weights stay numbers.
  virtual Json QuantizationConfig() const { return Json(); }
};

// The first error of `check` over the shapes of all matrices of a model's layers.
absl::Status CheckMatrices(
    const ModelConfig& config,
    const std::function<absl::Status(const std::string& name, int64_t rows, int64_t cols)>& check);

}  // namespace attnlab
