// The second-order, activation-aware and pruning methods on a whole model: what each promises of
// the model that it leaves.

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/randint.h>
#include <c10/core/GradMode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <string>
#include <utility>

#include "libs/compress/compress.h"
#include "libs/compress/input_scales.h"
#include "libs/compress/method_list.h"

namespace attnlab {
namespace {

using ::testing::HasSubstr;

ModelConfig SmallConfig() {
  ModelConfig config;
  config.vocab_size = 96;
  config.hidden_size = 64;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 4;
  config.intermediate_size = 128;
  config.initializer_range = 0.1;
  config.attention.weighting = "softpick";
  return config;
}

// A model some of whose channels are much louder than the others.
Transformer LoudModel(const ModelConfig& config) {
  const c10::NoGradGuard no_grad;
  Transformer model = Transformer::Create(config, 1).value();
  for (const auto& [name, tensor] : model.NamedParameters()) {
    if (name.find("layernorm") == std::string::npos) continue;
    for (const int64_t channel : {3, 17, 40}) tensor[channel] *= 12;
  }
  return model;
}

at::Tensor Tokens(int64_t sequences) {
  return at::randint(96, {sequences, 64}, at::detail::createCPUGenerator(3),
                     at::TensorOptions(at::kLong));
}

absl::StatusOr<CompressReport> RunMethod(Transformer& model, const std::string& kind,
                                         const std::string& name, const std::string& settings,
                                         int64_t sequences = 16) {
  const absl::StatusOr<Recipe> recipe = Recipe::Parse(settings, "test");
  if (!recipe.ok()) return recipe.status();
  const auto method = MakeMethod(kind, name, *recipe);
  if (!method.ok()) return method.status();
  return CompressModel(model, **method, Tokens(sequences), {.measure_outputs = true});
}

double OutputError(const std::string& kind, const std::string& name, const std::string& settings) {
  Transformer model = LoudModel(SmallConfig());
  const auto report = RunMethod(model, kind, name, settings);
  EXPECT_TRUE(report.ok()) << name << " " << report.status();
  return report.ok() ? report->output_error() : 1e9;
}

TEST(Methods, GptqBeatsRoundToNearest) {
  for (const std::string settings : {"bits = 4", "bits = 3", "bits = 3\ngroup_size = 32",
                                     "bits = 2\ngroup_size = 32\nsymmetric = true"}) {
    EXPECT_LT(OutputError("quantize", "gptq", settings),
              0.9 * OutputError("quantize", "rtn", settings))
        << settings;
  }
  EXPECT_LT(OutputError("quantize", "gptq", "bits = 3\nact_order = true\ntrue_sequential = true"),
            0.9 * OutputError("quantize", "rtn", "bits = 3"));
}

TEST(Methods, AwqBeatsItsGridsAlone) {
  const std::string plain = "bits = 3\ngroup_size = 32\nscale = false\nclip = false";
  const double alone = OutputError("quantize", "awq", plain);
  const double clipped = OutputError("quantize", "awq", "bits = 3\ngroup_size = 32\nscale = false");
  const double both = OutputError("quantize", "awq", "bits = 3\ngroup_size = 32");
  EXPECT_LT(clipped, alone);
  EXPECT_LT(both, 0.9 * alone);
  EXPECT_LT(OutputError("quantize", "awq", "bits = 4\ngroup_size = 64"), both);
}

TEST(Methods, SmoothQuantBeatsPlainIntegers) {
  // What activations lose is seen in the logits alone.
  const at::Tensor tokens = Tokens(2);
  const c10::NoGradGuard no_grad;
  const at::Tensor logits = LoudModel(SmallConfig()).Logits(tokens);
  const auto change = [&](const std::string& name, const std::string& settings) {
    Transformer model = LoudModel(SmallConfig());
    EXPECT_TRUE(RunMethod(model, "quantize", name, settings).ok());
    return (model.Logits(tokens) - logits).norm().item<double>();
  };
  EXPECT_LT(change("smoothquant", "alpha = 0.5"), 0.9 * change("int", "bits = 8"));
}

TEST(Methods, PruningOrder) {
  for (const std::string pattern : {"unstructured", "4:8", "2:4"}) {
    const std::string settings = "pattern = \"" + pattern + "\"";
    const double magnitude = OutputError("prune", "magnitude", settings);
    const double wanda = OutputError("prune", "wanda", settings);
    EXPECT_LT(wanda, magnitude) << pattern;
    EXPECT_LT(OutputError("prune", "sparsegpt", settings), wanda) << pattern;
  }
}

TEST(Methods, SparsityIsAchieved) {
  for (const std::string method : {"magnitude", "wanda", "sparsegpt"}) {
    Transformer model = LoudModel(SmallConfig());
    const auto report = RunMethod(model, "prune", method, "sparsity = 0.25");
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_NEAR(report->sparsity(), 0.25, 1e-3) << method;
  }
  Transformer halved = LoudModel(SmallConfig());
  const auto report = RunMethod(halved, "prune", "wanda", "pattern = \"2:4\"");
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_GE(report->sparsity(), 0.5);
  EXPECT_EQ(report->bits(), 17);  // half of float32's, and the places
  Transformer model = LoudModel(SmallConfig());
  const auto joint = RunMethod(model, "prune", "sparsegpt", "bits = 4");
  ASSERT_TRUE(joint.ok()) << joint.status();
  EXPECT_GE(joint->sparsity(), 0.5);
  EXPECT_LT(joint->bits(), 6);
}

TEST(Methods, FoldedFactorsChangeNothing) {
  const c10::NoGradGuard no_grad;
  const at::Tensor tokens = Tokens(2);
  Transformer model = LoudModel(SmallConfig());
  const at::Tensor before = model.Logits(tokens);
  using enum MatrixSlot;
  const at::Tensor s = model.Matrix(0, kQ).select(0, 0).abs() + 0.5;
  ScaleBehindNorm(model, 0, {kQ, kK, kV}, s);
  ScaleBehindNorm(model, 1, {kGate, kUp}, s);
  ScaleBetween(model, 0, kV, kO, s);
  ScaleBetween(model, 1, kUp, kDown, model.Matrix(1, kDown).select(0, 0).abs() + 0.5);
  const at::Tensor after = model.Logits(tokens);
  EXPECT_LT((after - before).norm().item<double>() / before.norm().item<double>(), 1e-5);
}

TEST(Methods, BadSettingsNameThemselves) {
  const auto message = [](const std::string& kind, const std::string& name,
                          const std::string& settings) {
    Transformer model = LoudModel(SmallConfig());
    return std::string(RunMethod(model, kind, name, settings).status().message());
  };
  EXPECT_THAT(message("quantize", "gptq", "group_size = 48"), HasSubstr("group_size = 48"));
  EXPECT_THAT(message("quantize", "gptq", "damp = -1.0"), HasSubstr("damp = -1"));
  EXPECT_THAT(message("quantize", "awq", "group_size = 128"), HasSubstr("q_proj"));
  EXPECT_THAT(message("quantize", "smoothquant", "alpha = 2.0"), HasSubstr("alpha = 2"));
  EXPECT_THAT(message("prune", "wanda", "sparsity = 1.0"), HasSubstr("sparsity = 1"));
  EXPECT_THAT(message("prune", "wanda", "pattern = \"3:4\""), HasSubstr("3:4"));
  EXPECT_THAT(message("prune", "magnitude", "sparsity = 0.3\npattern = \"2:4\""),
              HasSubstr("2:4 removes half"));
}

TEST(Methods, WhatFloat16CannotHoldIsAnError) {
  for (const auto& [kind, name, settings] : {std::array{"quantize", "rtn", "bits = 4"},
                                             {"quantize", "gptq", "bits = 4"},
                                             {"quantize", "awq", "group_size = 32"},
                                             {"quantize", "hqq", "dtype = \"float16\""},
                                             {"quantize", "bnb_int8", ""},
                                             {"prune", "sparsegpt", "bits = 4"}}) {
    Transformer model = Transformer::Create(SmallConfig(), 1).value();
    model.SetMatrix(1, MatrixSlot::kDown, model.Matrix(1, MatrixSlot::kDown).detach() * 1e8);
    const absl::Status status = RunMethod(model, kind, name, settings).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_THAT(status.message(),
                testing::AllOf(HasSubstr("model.layers.1.mlp.down_proj"), HasSubstr("float16")))
        << name;
  }
}

TEST(Methods, TooFewTokensNeedDamping) {
  Transformer model = LoudModel(SmallConfig());
  const absl::Status status =
      RunMethod(model, "quantize", "gptq", "damp = 0.0", /*sequences=*/1).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("_proj: the Hessian"));
  Transformer other = LoudModel(SmallConfig());
  EXPECT_TRUE(RunMethod(other, "quantize", "gptq", "damp = 0.01", /*sequences=*/1).ok());
}

}  // namespace
}  // namespace attnlab
