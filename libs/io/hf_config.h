// config.json of Llama-like models, as Hugging Face transformers writes and reads it.
//
// A model of attnlab is such a file with one object more, "attnlab", that holds the attention
// variant and its constants; a file without it is plain softmax attention. Fields that would change
// what the model computes and that are not supported (rope_scaling, attention_bias, ...) are
// errors; other unknown fields are ignored. quantization_config is kept as it is: its reader is
// libs/packed.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/io/json.h"

namespace attnlab {

struct HfConfig {
  std::vector<std::string> architectures = {"LlamaForCausalLM"};
  std::string model_type = "llama";
  int64_t hidden_size = 0, num_hidden_layers = 0, num_attention_heads = 0;
  int64_t num_key_value_heads = 0;  // a missing field means num_attention_heads
  int64_t head_dim = 0;             // a missing field means hidden_size / num_attention_heads
  int64_t intermediate_size = 0, vocab_size = 0;
  int64_t max_position_embeddings = 2048;
  double rms_norm_eps = 1e-6, rope_theta = 10000, initializer_range = 0.02;
  bool tie_word_embeddings = false;
  int64_t bos_token_id = -1, eos_token_id = -1;  // -1: none (null)
  std::string torch_dtype = "float32";           // float32, bfloat16 or float16
  Json quantization;  // the quantization_config object of packed weights; null: none

  // The "attnlab" object. Numbers, texts and truth values by name; the model decides their meaning.
  std::string attention = "softmax";                          // the variant
  std::map<std::string, double> attention_constants;          // its overridden constants
  std::map<std::string, double> attnlab_numbers;              // further fields of the object
  std::map<std::string, std::string> attnlab_texts;           // likewise
  std::map<std::string, std::vector<int64_t>> attnlab_lists;  // likewise
};

// InvalidArgument with file, field and what would be accepted; NotFound when there is no such file.
absl::StatusOr<HfConfig> ReadHfConfig(const std::string& path);

// Byte-stable, atomic. The sizes must be positive and fit each other (InvalidArgument otherwise).
absl::Status WriteHfConfig(const std::string& path, const HfConfig& config);

// What ReadHfConfig checks: positive sizes, heads that divide, an even head_dim.
absl::Status Validate(const HfConfig& config);

}  // namespace attnlab
