// Shapes: the published sizes of the softpick models, and the errors of configs that make no sense.

#include "libs/model/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

namespace attnlab {
namespace {

// Llama-style models of Zuhri et al. 2025, Table 6.
ModelConfig Published(int64_t hidden, int64_t layers, int64_t heads, int64_t inner) {
  ModelConfig config;
  config.hidden_size = hidden;
  config.num_hidden_layers = layers;
  config.num_attention_heads = heads;
  config.intermediate_size = inner;
  config.max_position_embeddings = 8192;
  config.initializer_range = 0.006;
  return config;
}

TEST(ModelConfig, CountsParametersOfPublishedModels) {
  EXPECT_EQ(ParameterCount(Published(1024, 24, 16, 2816)), 373867520);
  EXPECT_EQ(ParameterCount(Published(2048, 32, 32, 5632)), 1775372288);
}

TEST(ModelConfig, TiedGroupedAndLearnedShapes) {
  ModelConfig config = Published(64, 1, 4, 96);
  config.tie_word_embeddings = true;
  config.num_key_value_heads = 2;
  config.head_dim = 10;
  config.attention.weighting = "ssmax";
  ASSERT_TRUE(Validate(config).ok()) << Validate(config);
  const int64_t attention = 64 * 10 * (4 + 2 + 2 + 4);
  const int64_t learned = 4 * static_cast<int64_t>(HeadParameters(config.attention).size());
  EXPECT_GT(learned, 0);
  EXPECT_EQ(ParameterCount(config), 32000 * 64 + attention + learned + 3 * 64 * 96 + 3 * 64);
}

TEST(ModelConfig, ScalesOutputProjections) {
  ModelConfig config = Published(64, 8, 4, 96);
  config.scale_output_init = true;
  for (const ParameterSpec& spec : ParameterSpecs(config)) {
    const bool output = spec.name.find("o_proj") != std::string::npos ||
                        spec.name.find("down_proj") != std::string::npos;
    const bool constant = spec.shape.size() == 1;
    EXPECT_DOUBLE_EQ(spec.stddev, constant ? 0 : output ? 0.006 / 4 : 0.006) << spec.name;
  }
}

TEST(ModelConfig, NamesTheFieldThatIsWrong) {
  const std::vector<std::pair<std::function<void(ModelConfig&)>, std::string>> cases = {
      {[](ModelConfig& c) { c.vocab_size = 0; }, "vocab_size = 0"},
      {[](ModelConfig& c) { c.hidden_size = -5; }, "hidden_size = -5"},
      {[](ModelConfig& c) { c.num_hidden_layers = 0; }, "num_hidden_layers = 0"},
      {[](ModelConfig& c) { c.num_attention_heads = 3; }, "no multiple of num_attention_heads = 3"},
      {[](ModelConfig& c) { c.num_key_value_heads = 3; }, "multiple of num_key_value_heads = 3"},
      {[](ModelConfig& c) { c.head_dim = 7; }, "must be even"},
      {[](ModelConfig& c) { c.rms_norm_eps = 0; }, "rms_norm_eps = 0"},
      {[](ModelConfig& c) { c.rope_theta = -1; }, "rope_theta = -1"},
      {[](ModelConfig& c) { c.initializer_range = 0; }, "initializer_range = 0"},
      {[](ModelConfig& c) { c.bos_token_id = 32000; }, "bos_token_id = 32000"},
      {[](ModelConfig& c) { c.attention.weighting = "softpik"; }, "softpik"}};
  for (const auto& [change, message] : cases) {
    ModelConfig config = Published(64, 2, 4, 96);
    change(config);
    const absl::Status status = Validate(config);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << message;
    EXPECT_THAT(std::string(status.message()), testing::HasSubstr(message));
  }
}

}  // namespace
}  // namespace attnlab
