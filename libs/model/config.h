// The shape of a Llama-style decoder (Touvron et al. 2023): pre-norm RMSNorm, half-split RoPE,
// SwiGLU, no biases, grouped-query attention of any variant; and the list of its tensors.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "libs/attention/kv_quantization.h"
#include "libs/attention/options.h"

namespace attnlab {

struct ModelConfig {
  int64_t vocab_size = 32000;
  int64_t hidden_size = 512;
  int64_t num_hidden_layers = 8;
  int64_t num_attention_heads = 8;
  int64_t num_key_value_heads = 0;  // 0 = num_attention_heads
  int64_t head_dim = 0;             // 0 = hidden_size / num_attention_heads
  int64_t intermediate_size = 1408;
  int64_t max_position_embeddings = 2048;
  double rms_norm_eps = 1e-6;
  double rope_theta = 1e4;
  double initializer_range = 0.02;
  bool scale_output_init = false;
  bool tie_word_embeddings = false;
  int64_t bos_token_id = 1;
  int64_t eos_token_id = 2;
  AttentionOptions attention;
  // Query heads of each layer after heads were pruned; empty: num_attention_heads everywhere. Not
  // in recipes: a model starts whole.
  std::vector<int64_t> layer_heads;
  // How keys and values are kept, after training; not in recipes either.
  KvQuantization kv_cache;

  template <class Visitor>
  void ForEach(Visitor&& visit) {
    visit("vocab_size", vocab_size, "rows of the embedding");
    visit("hidden_size", hidden_size, "width of the residual stream");
    visit("num_hidden_layers", num_hidden_layers, "layers");
    visit("num_attention_heads", num_attention_heads, "query heads of a layer");
    visit("num_key_value_heads", num_key_value_heads, "key and value heads; 0 = query heads");
    visit("head_dim", head_dim, "width of a head; 0 = hidden_size / num_attention_heads");
    visit("intermediate_size", intermediate_size, "inner width of the SwiGLU MLP");
    visit("max_position_embeddings", max_position_embeddings, "longest sequence");
    visit("rms_norm_eps", rms_norm_eps, "added to the mean square in RMSNorm");
    visit("rope_theta", rope_theta, "base of the rotary angles");
    visit("initializer_range", initializer_range, "standard deviation of the initial weights");
    visit("scale_output_init", scale_output_init,
          "divide the initial output projections by sqrt(2 num_hidden_layers)");
    visit("tie_word_embeddings", tie_word_embeddings, "the output head is the embedding");
    visit("bos_token_id", bos_token_id, "token that starts a document; -1 = none");
    visit("eos_token_id", eos_token_id, "token that ends a document; -1 = none");
    visit("attention", attention, "the attention of every layer");
  }

  int64_t KeyValueHeads() const {
    return num_key_value_heads > 0 ? num_key_value_heads : num_attention_heads;
  }
  // Query heads that share a key and value head.
  int64_t GroupSize() const { return num_attention_heads / KeyValueHeads(); }
  int64_t Heads(int64_t layer) const {
    return layer_heads.empty() ? num_attention_heads : layer_heads[layer];
  }
  int64_t KeyValueHeads(int64_t layer) const { return Heads(layer) / GroupSize(); }
  int64_t HeadDim() const { return head_dim > 0 ? head_dim : hidden_size / num_attention_heads; }
};

// InvalidArgument that names the field, its value and what it must be.
absl::Status Validate(const ModelConfig& config);

// One tensor of a model: its Hugging Face name, its shape, and how it starts: N(mean, stddev^2),
// drawn from the stream of its name, or the constant `mean` when stddev is 0.
struct ParameterSpec {
  std::string name;  // "model.layers.0.self_attn.q_proj.weight"
  std::vector<int64_t> shape;
  double mean = 0;
  double stddev = 0;

  int64_t Count() const;
};

// All tensors of the model, embedding first, in the order of Transformer::NamedParameters. Learned
// per-head numbers of the attention variant are model.layers.N.self_attn.NAME,
// [num_attention_heads]. `config` is valid.
std::vector<ParameterSpec> ParameterSpecs(const ModelConfig& config);

// Numbers in all tensors; nothing is allocated.
int64_t ParameterCount(const ModelConfig& config);

}  // namespace attnlab
