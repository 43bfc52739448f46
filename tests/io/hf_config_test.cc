#include "libs/io/hf_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "libs/core/files.h"

namespace attnlab {
namespace {

using ::testing::HasSubstr;

std::string TempPath(const std::string& name) {
  return absl::StrCat(::testing::TempDir(), "/attnlab_hf_config_", getpid(), "_", name);
}

absl::StatusOr<HfConfig> Read(const std::string& text) {
  const std::string path = TempPath("config.json");
  EXPECT_TRUE(WriteFileAtomically(path, text).ok());
  return ReadHfConfig(path);
}

// The fields that a file cannot do without, and `more`.
std::string Config(const std::string& more = "") {
  return absl::StrCat(R"({"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "intermediate_size": 168, "vocab_size": 65)",
                      more.empty() ? "" : ", ", more, "}");
}

HfConfig Example() {
  HfConfig config;
  config.hidden_size = 512;
  config.num_hidden_layers = 8;
  config.num_attention_heads = 8;
  config.num_key_value_heads = 2;
  config.head_dim = 64;
  config.intermediate_size = 1408;
  config.vocab_size = 16000;
  config.max_position_embeddings = 1024;
  config.rms_norm_eps = 1e-5;
  config.tie_word_embeddings = true;
  config.bos_token_id = 1;
  config.torch_dtype = "bfloat16";
  config.attention = "softpick";
  config.attention_constants = {{"epsilon", 1e-6}};
  config.attnlab_numbers = {{"window", 256}};
  config.attnlab_texts = {{"tokenizer", "tokenizer.model"}};
  return config;
}

TEST(HfConfig, RoundTripIsStable) {
  const std::string path = TempPath("round");
  ASSERT_TRUE(WriteHfConfig(path, Example()).ok());
  const std::string first = ReadFile(path).value();
  const auto read = ReadHfConfig(path);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->num_key_value_heads, 2);
  EXPECT_EQ(read->rms_norm_eps, 1e-5);
  EXPECT_EQ(read->bos_token_id, 1);
  EXPECT_EQ(read->eos_token_id, -1);
  EXPECT_EQ(read->attention, "softpick");
  EXPECT_EQ(read->attention_constants.at("epsilon"), 1e-6);
  EXPECT_EQ(read->attnlab_numbers.at("window"), 256);
  EXPECT_EQ(read->attnlab_texts.at("tokenizer"), "tokenizer.model");
  EXPECT_TRUE(read->tie_word_embeddings);
  ASSERT_TRUE(WriteHfConfig(path, *read).ok());
  EXPECT_EQ(ReadFile(path).value(), first);
}

TEST(HfConfig, DefaultsOfMissingFields) {
  const auto config = Read(Config());
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->num_key_value_heads, 4);
  EXPECT_EQ(config->head_dim, 16);
  EXPECT_EQ(config->rope_theta, 10000);
  EXPECT_EQ(config->attention, "softmax");
  EXPECT_EQ(config->bos_token_id, -1);
}

// What transformers 4 and 5 write for such models: harmless fields, and dtype under either name.
TEST(HfConfig, FieldsOfTransformers) {
  const auto config = Read(Config(R"("attention_bias": false, "mlp_bias": false,
    "rope_scaling": null, "hidden_act": "silu", "use_cache": true, "pretraining_tp": 1,
    "transformers_version": "4.57.0", "dtype": "bfloat16", "eos_token_id": [2, 3],
    "something_new": 1)"));
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->torch_dtype, "bfloat16");
  EXPECT_EQ(config->eos_token_id, 2);
}

TEST(HfConfig, WhatChangesTheModelIsAnError) {
  const std::pair<std::string, std::string> cases[] = {
      {R"("rope_scaling": {"factor": 8.0, "rope_type": "llama3"})", "rope_scaling"},
      {R"("attention_bias": true)", "attention_bias"},
      {R"("mlp_bias": true)", "mlp_bias"},
      {R"("sliding_window": 4096)", "sliding_window"},
      {R"("hidden_act": "gelu")", "hidden_act"},
      {R"("partial_rotary_factor": 0.5)", "partial_rotary_factor"},
      {R"("num_key_value_heads": 3)", "no multiple"},
      {R"("num_key_value_heads": 0)", "num_key_value_heads is 0"},
      {R"("head_dim": 15)", "odd"},
      {R"("max_position_embeddings": -1)", "max_position_embeddings"},
      {R"("rms_norm_eps": 0)", "positive"},
      {R"("bos_token_id": 65)", "token id 65"},
      {R"("torch_dtype": "int8")", "torch_dtype"},
      {R"("tie_word_embeddings": "yes")", "tie_word_embeddings"},
      {R"("attnlab": {"attention_constants": {"epsilon": "small"}})", "epsilon"},
  };
  for (const auto& [field, message] : cases) {
    const auto config = Read(Config(field));
    ASSERT_FALSE(config.ok()) << field;
    EXPECT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(config.status().message()), HasSubstr(message));
    EXPECT_THAT(std::string(config.status().message()), HasSubstr("config.json"));
  }
  EXPECT_FALSE(Read("{}").ok());
  EXPECT_FALSE(Read("[]").ok());
  EXPECT_FALSE(Read(R"({"model_type": "gpt2"})").ok());
  EXPECT_FALSE(Read(Config(R"("hidden_size": 9223372036854775807)")).ok());
  EXPECT_EQ(ReadHfConfig(TempPath("absent")).status().code(), absl::StatusCode::kNotFound);
}

TEST(HfConfig, WriterRefusesAnImpossibleModel) {
  HfConfig config = Example();
  config.vocab_size = 0;
  EXPECT_EQ(WriteHfConfig(TempPath("bad"), config).code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace attnlab
