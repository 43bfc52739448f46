// Checks of a model's shape, and the list of its tensors.

#include "libs/model/config.h"

#include <cmath>

#include "absl/strings/str_format.h"
#include "libs/core/status.h"

namespace attnlab {
namespace {

constexpr int64_t kLargest = int64_t{1} << 31;

absl::Status CheckRange(const char* name, int64_t value, int64_t low) {
  if (value >= low && value <= kLargest) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrFormat("%s = %d: must be from %d to %d", name, value, low, kLargest));
}

absl::Status CheckPositive(const char* name, double value) {
  if (value > 0 && std::isfinite(value)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrFormat("%s = %g: must be a positive number", name, value));
}

absl::Status CheckToken(const char* name, int64_t token, int64_t vocab_size) {
  if (token >= -1 && token < vocab_size) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat(
      "%s = %d: must be below vocab_size = %d, or -1 for none", name, token, vocab_size));
}

absl::Status CheckLayerHeads(const ModelConfig& config) {
  const std::vector<int64_t>& heads = config.layer_heads;
  if (heads.empty()) return absl::OkStatus();
  if (static_cast<int64_t>(heads.size()) != config.num_hidden_layers) {
    return absl::InvalidArgumentError(
        absl::StrFormat("layer_heads has %d numbers: must be one a layer, %d", heads.size(),
                        config.num_hidden_layers));
  }
  for (const int64_t count : heads) {
    if (count >= 1 && count <= config.num_attention_heads && count % config.GroupSize() == 0) {
      continue;
    }
    return absl::InvalidArgumentError(absl::StrFormat(
        "layer_heads has %d: must be from 1 to %d and a multiple of %d, the query heads of a key "
        "and value head",
        count, config.num_attention_heads, config.GroupSize()));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Validate(const ModelConfig& config) {
  ATTNLAB_RETURN_IF_ERROR(CheckRange("vocab_size", config.vocab_size, 1));
  ATTNLAB_RETURN_IF_ERROR(CheckRange("hidden_size", config.hidden_size, 1));
  ATTNLAB_RETURN_IF_ERROR(CheckRange("num_hidden_layers", config.num_hidden_layers, 1));
  ATTNLAB_RETURN_IF_ERROR(CheckRange("num_attention_heads", config.num_attention_heads, 1));
  ATTNLAB_RETURN_IF_ERROR(CheckRange("num_key_value_heads", config.num_key_value_heads, 0));
  ATTNLAB_RETURN_IF_ERROR(CheckRange("head_dim", config.head_dim, 0));
  ATTNLAB_RETURN_IF_ERROR(CheckRange("intermediate_size", config.intermediate_size, 1));
  ATTNLAB_RETURN_IF_ERROR(CheckRange("max_position_embeddings", config.max_position_embeddings, 1));
  ATTNLAB_RETURN_IF_ERROR(CheckPositive("rms_norm_eps", config.rms_norm_eps));
  ATTNLAB_RETURN_IF_ERROR(CheckPositive("rope_theta", config.rope_theta));
  ATTNLAB_RETURN_IF_ERROR(CheckPositive("initializer_range", config.initializer_range));
  ATTNLAB_RETURN_IF_ERROR(CheckToken("bos_token_id", config.bos_token_id, config.vocab_size));
  ATTNLAB_RETURN_IF_ERROR(CheckToken("eos_token_id", config.eos_token_id, config.vocab_size));
  if (config.head_dim == 0 && config.hidden_size % config.num_attention_heads != 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "hidden_size = %d is no multiple of num_attention_heads = %d: change one, or "
        "give head_dim",
        config.hidden_size, config.num_attention_heads));
  }
  if (config.HeadDim() % 2 != 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "head dim = %d: must be even, RoPE turns pairs of components", config.HeadDim()));
  }
  if (config.num_attention_heads % config.KeyValueHeads() != 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("num_attention_heads = %d: must be a multiple of num_key_value_heads = %d",
                        config.num_attention_heads, config.KeyValueHeads()));
  }
  ATTNLAB_RETURN_IF_ERROR(CheckLayerHeads(config));
  ATTNLAB_RETURN_IF_ERROR(Annotate(Validate(config.kv_cache, config.HeadDim()), "kv_cache"));
  return Annotate(Validate(config.attention), "attention");
}

int64_t ParameterSpec::Count() const {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return count;
}

std::vector<ParameterSpec> ParameterSpecs(const ModelConfig& config) {
  const int64_t hidden = config.hidden_size, inner = config.intermediate_size;
  const double stddev = config.initializer_range;
  const double output_stddev =
      config.scale_output_init ? stddev / std::sqrt(2.0 * config.num_hidden_layers) : stddev;

  std::vector<ParameterSpec> specs;
  specs.push_back({"model.embed_tokens.weight", {config.vocab_size, hidden}, 0, stddev});
  for (int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    const std::string prefix = absl::StrFormat("model.layers.%d.", layer);
    const int64_t q_size = config.Heads(layer) * config.HeadDim();
    const int64_t kv_size = config.KeyValueHeads(layer) * config.HeadDim();
    const auto add = [&](const std::string& name, std::vector<int64_t> shape, double mean,
                         double deviation) {
      specs.push_back({prefix + name, std::move(shape), mean, deviation});
    };
    add("input_layernorm.weight", {hidden}, 1, 0);
    add("self_attn.q_proj.weight", {q_size, hidden}, 0, stddev);
    add("self_attn.k_proj.weight", {kv_size, hidden}, 0, stddev);
    add("self_attn.v_proj.weight", {kv_size, hidden}, 0, stddev);
    add("self_attn.o_proj.weight", {hidden, q_size}, 0, output_stddev);
    for (const HeadParameter& parameter : HeadParameters(config.attention)) {
      add("self_attn." + parameter.name, {config.Heads(layer)}, parameter.init, 0);
    }
    add("post_attention_layernorm.weight", {hidden}, 1, 0);
    add("mlp.gate_proj.weight", {inner, hidden}, 0, stddev);
    add("mlp.up_proj.weight", {inner, hidden}, 0, stddev);
    add("mlp.down_proj.weight", {hidden, inner}, 0, output_stddev);
  }
  specs.push_back({"model.norm.weight", {hidden}, 1, 0});
  if (!config.tie_word_embeddings) {
    specs.push_back({"lm_head.weight", {config.vocab_size, hidden}, 0, stddev});
  }
  return specs;
}

int64_t ParameterCount(const ModelConfig& config) {
  int64_t count = 0;
  for (const ParameterSpec& spec : ParameterSpecs(config)) count += spec.Count();
  return count;
}

}  // namespace attnlab
