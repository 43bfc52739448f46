#include "libs/io/hf_config.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "libs/core/files.h"
#include "libs/core/log.h"
#include "libs/core/status.h"
#include "libs/io/json.h"

namespace attnlab {
namespace {

// Fields that are read; the order in which they are written.
constexpr absl::string_view kKnown[] = {"architectures",
                                        "attnlab",
                                        "bos_token_id",
                                        "eos_token_id",
                                        "head_dim",
                                        "hidden_act",
                                        "hidden_size",
                                        "initializer_range",
                                        "intermediate_size",
                                        "max_position_embeddings",
                                        "model_type",
                                        "num_attention_heads",
                                        "quantization_config",
                                        "num_hidden_layers",
                                        "num_key_value_heads",
                                        "rms_norm_eps",
                                        "rope_parameters",
                                        "rope_theta",
                                        "tie_word_embeddings",
                                        "torch_dtype",
                                        "dtype",
                                        "vocab_size"};

// Fields that say nothing about what the model computes.
constexpr absl::string_view kIgnored[] = {
    "_name_or_path",     "attention_dropout",    "name_or_path",         "pad_token_id",
    "pretraining_tp",    "return_dict",          "transformers_version", "use_cache",
    "output_attentions", "output_hidden_states", "unk_token_id"};

// Fields with the one meaning that is supported; any other is an error.
struct Fixed {
  absl::string_view name;
  Json only;
};
const std::vector<Fixed>& FixedFields() {
  static const auto* const fields = new std::vector<Fixed>{{"attention_bias", false},
                                                           {"mlp_bias", false},
                                                           {"rope_scaling", Json()},
                                                           {"sliding_window", Json()},
                                                           {"use_sliding_window", false},
                                                           {"partial_rotary_factor", 1.0},
                                                           {"logit_softcapping", Json()},
                                                           {"attn_logit_softcapping", Json()},
                                                           {"final_logit_softcapping", Json()},
                                                           {"qk_norm", false},
                                                           {"hidden_act", "silu"}};
  return *fields;
}

bool Contains(absl::Span<const absl::string_view> list, absl::string_view name) {
  return std::find(list.begin(), list.end(), name) != list.end();
}

absl::Status CheckFixedFields(const Json& json, const JsonRef& root) {
  for (const Fixed& field : FixedFields()) {
    const JsonRef value = root[field.name];
    if (!value.present() || value.get()->Dump() == field.only.Dump()) continue;
    const auto number = value.Number();  // 1 and 1.0 are the same
    const auto* only = std::get_if<double>(&field.only.value());
    if (only != nullptr && number.ok() && *number == *only) continue;
    return value.Error(absl::StrCat(value.get()->Dump(), " is not supported, only ",
                                    field.only.Dump(),
                                    ": this model computes something that attnlab does not"));
  }
  return absl::OkStatus();
}

void WarnOfUnknownFields(const std::string& path, const Json& json) {
  for (const auto& [name, value] : std::get<Json::Object>(json.value())) {
    const bool fixed = std::any_of(FixedFields().begin(), FixedFields().end(),
                                   [&](const Fixed& field) { return field.name == name; });
    if (!fixed && !Contains(kKnown, name) && !Contains(kIgnored, name))
      LogWarning(absl::StrCat(path, ": field \"", name, "\" is not known and is ignored"));
  }
}

// A token id: an integer, null, or (newer files) a list whose first entry counts.
absl::StatusOr<int64_t> TokenId(const JsonRef& json) {
  if (json.IsArray()) return json[0].Integer();
  return json.IntegerOr(-1);
}

absl::Status ReadAttnlab(const JsonRef& json, HfConfig& config) {
  if (!json.present()) return absl::OkStatus();
  ATTNLAB_ASSIGN_OR_RETURN(const auto members, json.Members());
  for (const auto& [name, member] : members) {
    const std::string key(name);
    if (key == "attention") {
      ATTNLAB_ASSIGN_OR_RETURN(config.attention, member.StringOr(config.attention));
    } else if (key == "attention_constants") {
      ATTNLAB_ASSIGN_OR_RETURN(const auto constants, member.Members());
      for (const auto& [constant, value] : constants) {
        ATTNLAB_ASSIGN_OR_RETURN(config.attention_constants[std::string(constant)], value.Number());
      }
    } else if (member.IsArray()) {
      ATTNLAB_ASSIGN_OR_RETURN(config.attnlab_lists[key], member.Integers());
    } else if (member.IsString()) {
      ATTNLAB_ASSIGN_OR_RETURN(const absl::string_view text, member.String());
      config.attnlab_texts[key] = std::string(text);
    } else {
      ATTNLAB_ASSIGN_OR_RETURN(config.attnlab_numbers[key], member.Number());
    }
  }
  return absl::OkStatus();
}

absl::Status ReadSizes(const JsonRef& root, HfConfig& config) {
  ATTNLAB_ASSIGN_OR_RETURN(config.hidden_size, root["hidden_size"].Integer());
  ATTNLAB_ASSIGN_OR_RETURN(config.num_hidden_layers, root["num_hidden_layers"].Integer());
  ATTNLAB_ASSIGN_OR_RETURN(config.num_attention_heads, root["num_attention_heads"].Integer());
  ATTNLAB_ASSIGN_OR_RETURN(config.num_key_value_heads,
                           root["num_key_value_heads"].IntegerOr(config.num_attention_heads));
  const int64_t heads = std::max<int64_t>(config.num_attention_heads, 1);
  ATTNLAB_ASSIGN_OR_RETURN(config.head_dim, root["head_dim"].IntegerOr(config.hidden_size / heads));
  ATTNLAB_ASSIGN_OR_RETURN(config.intermediate_size, root["intermediate_size"].Integer());
  ATTNLAB_ASSIGN_OR_RETURN(config.vocab_size, root["vocab_size"].Integer());
  ATTNLAB_ASSIGN_OR_RETURN(
      config.max_position_embeddings,
      root["max_position_embeddings"].IntegerOr(config.max_position_embeddings));
  return absl::OkStatus();
}

// transformers 4 writes rope_theta, 5 an object rope_parameters that holds it.
absl::Status ReadRope(const JsonRef& root, HfConfig& config) {
  ATTNLAB_ASSIGN_OR_RETURN(config.rope_theta, root["rope_theta"].NumberOr(config.rope_theta));
  const JsonRef rope = root["rope_parameters"];
  if (!rope.present()) return absl::OkStatus();
  if (!rope.IsObject()) return rope.Error("expected an object");
  ATTNLAB_ASSIGN_OR_RETURN(const std::string type, rope["rope_type"].StringOr("default"));
  if (type != "default")
    return rope["rope_type"].Error(
        absl::StrCat("\"", type, "\" is not supported, only \"default\""));
  ATTNLAB_ASSIGN_OR_RETURN(config.rope_theta, rope["rope_theta"].NumberOr(config.rope_theta));
  return absl::OkStatus();
}

absl::Status CheckRange(absl::string_view name, int64_t value, int64_t most) {
  if (value >= 1 && value <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(name, " is ", value, ", expected 1 to ", most));
}

}  // namespace

absl::Status Validate(const HfConfig& config) {
  // Generous bounds whose products stay far below 2^63.
  ATTNLAB_RETURN_IF_ERROR(CheckRange("hidden_size", config.hidden_size, 1 << 20));
  ATTNLAB_RETURN_IF_ERROR(CheckRange("num_hidden_layers", config.num_hidden_layers, 1 << 14));
  ATTNLAB_RETURN_IF_ERROR(CheckRange("num_attention_heads", config.num_attention_heads, 1 << 14));
  ATTNLAB_RETURN_IF_ERROR(
      CheckRange("num_key_value_heads", config.num_key_value_heads, config.num_attention_heads));
  ATTNLAB_RETURN_IF_ERROR(CheckRange("head_dim", config.head_dim, 1 << 14));
  ATTNLAB_RETURN_IF_ERROR(CheckRange("intermediate_size", config.intermediate_size, 1 << 22));
  ATTNLAB_RETURN_IF_ERROR(CheckRange("vocab_size", config.vocab_size, 1 << 24));
  ATTNLAB_RETURN_IF_ERROR(
      CheckRange("max_position_embeddings", config.max_position_embeddings, 1 << 28));
  if (config.num_attention_heads % config.num_key_value_heads != 0)
    return absl::InvalidArgumentError(
        absl::StrCat("num_attention_heads ", config.num_attention_heads,
                     " is no multiple of num_key_value_heads ", config.num_key_value_heads));
  if (config.head_dim % 2 != 0)
    return absl::InvalidArgumentError(
        absl::StrCat("head_dim ", config.head_dim, " is odd, but RoPE turns pairs"));
  for (const double positive : {config.rms_norm_eps, config.rope_theta}) {
    if (!(positive > 0) || !std::isfinite(positive))
      return absl::InvalidArgumentError("rms_norm_eps and rope_theta must be positive");
  }
  for (const int64_t id : {config.bos_token_id, config.eos_token_id}) {
    if (id < -1 || id >= config.vocab_size)
      return absl::InvalidArgumentError(
          absl::StrCat("token id ", id, " is not in the vocabulary of ", config.vocab_size));
  }
  if (config.torch_dtype != "float32" && config.torch_dtype != "bfloat16" &&
      config.torch_dtype != "float16")
    return absl::InvalidArgumentError(absl::StrCat("torch_dtype \"", config.torch_dtype,
                                                   "\" is not float32, bfloat16 or float16"));
  return absl::OkStatus();
}

absl::StatusOr<HfConfig> ReadHfConfig(const std::string& path) {
  ATTNLAB_ASSIGN_OR_RETURN(const Json json, Json::ParseFile(path));
  const JsonRef root(json, path);
  if (!root.IsObject()) return root.Error("expected an object");
  HfConfig config;
  ATTNLAB_ASSIGN_OR_RETURN(config.model_type, root["model_type"].StringOr(config.model_type));
  if (config.model_type != "llama")
    return root["model_type"].Error(
        absl::StrCat("\"", config.model_type, "\" is not supported, only \"llama\""));
  if (root["architectures"].present()) {
    ATTNLAB_ASSIGN_OR_RETURN(config.architectures, root["architectures"].Strings());
  }
  ATTNLAB_RETURN_IF_ERROR(CheckFixedFields(json, root));
  ATTNLAB_RETURN_IF_ERROR(ReadSizes(root, config));
  ATTNLAB_ASSIGN_OR_RETURN(config.rms_norm_eps, root["rms_norm_eps"].NumberOr(1e-6));
  ATTNLAB_RETURN_IF_ERROR(ReadRope(root, config));
  ATTNLAB_ASSIGN_OR_RETURN(config.initializer_range, root["initializer_range"].NumberOr(0.02));
  ATTNLAB_ASSIGN_OR_RETURN(config.tie_word_embeddings, root["tie_word_embeddings"].BoolOr(false));
  ATTNLAB_ASSIGN_OR_RETURN(config.bos_token_id, TokenId(root["bos_token_id"]));
  ATTNLAB_ASSIGN_OR_RETURN(config.eos_token_id, TokenId(root["eos_token_id"]));
  // Newer files of transformers call it dtype.
  const JsonRef dtype = root["torch_dtype"].present() ? root["torch_dtype"] : root["dtype"];
  ATTNLAB_ASSIGN_OR_RETURN(config.torch_dtype, dtype.StringOr("float32"));
  ATTNLAB_RETURN_IF_ERROR(ReadAttnlab(root["attnlab"], config));
  if (const JsonRef quantization = root["quantization_config"]; quantization.present()) {
    if (!quantization.IsObject()) return quantization.Error("expected an object");
    config.quantization = *quantization.get();
  }
  if (absl::Status valid = Validate(config); !valid.ok()) return Annotate(valid, path);
  WarnOfUnknownFields(path, json);
  return config;
}

absl::Status WriteHfConfig(const std::string& path, const HfConfig& config) {
  if (absl::Status valid = Validate(config); !valid.ok()) return Annotate(valid, path);
  const auto token = [](int64_t id) { return id < 0 ? Json() : Json(id); };
  Json architectures = Json::MakeArray();
  for (const std::string& name : config.architectures) architectures.Append(name);
  Json attnlab = Json::MakeObject();
  attnlab.Set("attention", config.attention);
  Json constants = Json::MakeObject();
  for (const auto& [name, value] : config.attention_constants) constants.Set(name, value);
  attnlab.Set("attention_constants", std::move(constants));
  for (const auto& [name, value] : config.attnlab_numbers) attnlab.Set(name, value);
  for (const auto& [name, value] : config.attnlab_texts) attnlab.Set(name, value);
  for (const auto& [name, values] : config.attnlab_lists) {
    Json list = Json::MakeArray();
    for (const int64_t value : values) list.Append(value);
    attnlab.Set(name, std::move(list));
  }
  Json json = Json::MakeObject();
  json.Set("architectures", std::move(architectures))
      .Set("attention_bias", false)
      .Set("attnlab", std::move(attnlab))
      .Set("bos_token_id", token(config.bos_token_id))
      .Set("eos_token_id", token(config.eos_token_id))
      .Set("head_dim", config.head_dim)
      .Set("hidden_act", "silu")
      .Set("hidden_size", config.hidden_size)
      .Set("initializer_range", config.initializer_range)
      .Set("intermediate_size", config.intermediate_size)
      .Set("max_position_embeddings", config.max_position_embeddings)
      .Set("mlp_bias", false)
      .Set("model_type", config.model_type)
      .Set("num_attention_heads", config.num_attention_heads)
      .Set("num_hidden_layers", config.num_hidden_layers)
      .Set("num_key_value_heads", config.num_key_value_heads);
  if (JsonRef(config.quantization).present()) json.Set("quantization_config", config.quantization);
  json.Set("rms_norm_eps", config.rms_norm_eps)
      .Set("rope_theta", config.rope_theta)
      .Set("tie_word_embeddings", config.tie_word_embeddings)
      .Set("torch_dtype", config.torch_dtype)
      .Set("vocab_size", config.vocab_size);
  return WriteFileAtomically(path, json.Dump(2) + "\n");
}

}  // namespace attnlab
