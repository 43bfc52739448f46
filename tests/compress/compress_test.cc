// The walk over a model: what methods see, what is recorded, and what stops it.

#include "libs/compress/compress.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

namespace attnlab {
namespace {

ModelConfig Tiny() {
  ModelConfig config;
  config.vocab_size = 23;
  config.hidden_size = 16;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  config.intermediate_size = 24;
  config.max_position_embeddings = 32;
  config.attention.weighting = "softpick";
  return config;
}

at::Tensor Tokens(int64_t sequences = 5, int64_t length = 12) {
  at::manual_seed(7);
  return at::randint(0, 23, {sequences, length}, at::kLong);
}

// Halves every weight and remembers what it was shown.
class Halving : public Method {
 public:
  std::vector<MethodSetting> settings() const override { return {}; }
  CalibrationNeeds needs() const override {
    return {.inputs = true, .sample_tokens = 6, .sample_sequences = 3};
  }
  absl::Status Check(const ModelConfig&) const override { return absl::OkStatus(); }
  bool sequential() const override { return in_sequence; }
  bool prepares_layers() const override { return true; }
  absl::Status PrepareLayer(Transformer&, int64_t, const LayerInputs& inputs) const override {
    sequences = inputs.sequences.sizes().vec();
    return absl::OkStatus();
  }
  absl::StatusOr<CompressedMatrix> Compress(const MatrixWork& work) const override {
    if (work.name == fail_at) return absl::InvalidArgumentError("no");
    seen[work.name] = *work.inputs;
    return CompressedMatrix{nullptr, work.weight.mul(0.5)};
  }

  bool in_sequence = false;
  std::string fail_at;
  mutable std::map<std::string, InputMoments> seen;
  mutable std::vector<int64_t> sequences;
};

// What a forward pass gives to the matrices, gathered whole.
class Recorder : public ForwardProbe {
 public:
  void OnMatrixInput(int64_t layer, MatrixSlot first, const at::Tensor& input) override {
    inputs[MatrixName(layer, first)] = input.detach().flatten(0, -2).to(at::kDouble);
  }
  std::map<std::string, at::Tensor> inputs;
};

std::map<std::string, at::Tensor> InputsOf(const Transformer& model, const at::Tensor& tokens) {
  Recorder recorder;
  model.Hidden(tokens, {.probe = &recorder});
  return recorder.inputs;
}

void ExpectMoments(const InputMoments& moments, const at::Tensor& x, int64_t sequences) {
  const double n = static_cast<double>(sequences);
  const auto near = [](const at::Tensor& a, const at::Tensor& b) {
    return at::allclose(a.to(at::kDouble), b, 1e-5, 1e-7);
  };
  EXPECT_EQ(moments.sequences, sequences);
  EXPECT_EQ(moments.tokens, x.size(0));
  EXPECT_TRUE(near(moments.square_norm, x.square().sum(0) / n));
  EXPECT_TRUE(near(moments.abs_mean, x.abs().mean(0)));
  EXPECT_TRUE(near(moments.abs_max, x.abs().amax(0)));
  EXPECT_TRUE(near(moments.hessian, x.t().matmul(x) * (2 / n)));
}

TEST(CompressModel, MomentsAreThoseOfTheInputs) {
  Transformer model = Transformer::Create(Tiny(), 3).value();
  const at::Tensor tokens = Tokens();
  const auto inputs = InputsOf(model, tokens);
  const Halving method;
  const auto report = CompressModel(model, method, tokens, {.batch = 2});
  ASSERT_TRUE(report.ok()) << report.status();
  ASSERT_EQ(report->matrices.size(), 14u);
  const std::map<std::string, std::string> first_of = {{"self_attn.q_proj", "self_attn.q_proj"},
                                                       {"self_attn.v_proj", "self_attn.q_proj"},
                                                       {"self_attn.o_proj", "self_attn.o_proj"},
                                                       {"mlp.up_proj", "mlp.gate_proj"},
                                                       {"mlp.down_proj", "mlp.down_proj"}};
  // All of the first layer is measured while it is whole.
  for (const auto& [matrix, first] : first_of) {
    SCOPED_TRACE(matrix);
    ExpectMoments(method.seen.at("model.layers.0." + matrix), inputs.at("model.layers.0." + first),
                  5);
  }
  EXPECT_EQ(method.seen.at("model.layers.0.mlp.down_proj").sample.size(0), 6);
  EXPECT_EQ(method.sequences, (std::vector<int64_t>{3, 12, 16}));
}

TEST(CompressModel, LaterInputsAreThoseOfTheCompressedModel) {
  for (const bool sequential : {false, true}) {
    SCOPED_TRACE(sequential);
    Transformer model = Transformer::Create(Tiny(), 3).value();
    const at::Tensor tokens = Tokens();
    Halving method;
    method.in_sequence = sequential;
    ASSERT_TRUE(CompressModel(model, method, tokens, {.batch = 3}).ok());
    const auto after = InputsOf(model, tokens);  // the model is compressed now
    const auto square = [](const at::Tensor& x) { return x.square().sum(0) / 5.0; };
    const auto same = [&](const std::string& name) {
      return at::allclose(method.seen.at(name).square_norm.to(at::kDouble), square(after.at(name)),
                          1e-4, 1e-7);
    };
    EXPECT_TRUE(same("model.layers.1.self_attn.q_proj"));
    // Inside a layer only in sequence.
    EXPECT_EQ(same("model.layers.1.self_attn.o_proj"), sequential);
    EXPECT_EQ(same("model.layers.0.mlp.down_proj"), sequential);
  }
}

TEST(CompressModel, RecordsWhatBecameOfEachMatrix) {
  Transformer model = Transformer::Create(Tiny(), 3).value();
  const at::Tensor before = model.Matrix(1, MatrixSlot::kUp).detach().clone();
  const auto report = CompressModel(model, Halving(), Tokens(), {});
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_TRUE(model.Matrix(1, MatrixSlot::kUp).equal(before * 0.5));
  for (const MatrixReport& matrix : report->matrices) {
    EXPECT_NEAR(matrix.weight_error, 0.5, 1e-6) << matrix.name;
    EXPECT_NEAR(matrix.output_error, 0.5, 1e-5) << matrix.name;
    EXPECT_EQ(matrix.sparsity, 0) << matrix.name;
    EXPECT_EQ(matrix.bits, 32) << matrix.name;
  }
  EXPECT_NEAR(report->weight_error(), 0.5, 1e-6);
  EXPECT_NEAR(report->output_error(), 0.5, 1e-5);
}

TEST(CompressModel, ErrorsNameTheMatrix) {
  Transformer model = Transformer::Create(Tiny(), 3).value();
  Halving method;
  method.fail_at = "model.layers.1.self_attn.o_proj";
  const absl::Status failed = CompressModel(model, method, Tokens(), {}).status();
  EXPECT_EQ(failed.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(failed.message()), testing::HasSubstr(method.fail_at));
  const absl::Status no_text = CompressModel(model, Halving(), at::Tensor(), {}).status();
  EXPECT_THAT(std::string(no_text.message()), testing::HasSubstr("calibration text"));
}

}  // namespace
}  // namespace attnlab
