// Model folders: config.json both ways, and the checked reading of weights.

#include "libs/model/model_io.h"

#include <c10/core/GradMode.h>

#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "libs/core/status.h"
#include "libs/io/hf_config.h"
#include "libs/io/json.h"
#include "libs/io/safetensors.h"
#include "libs/model/tensor_io.h"

namespace attnlab {
namespace {

// The number of "attnlab" in config.json that stands for each field that Llama has not.
template <class Visitor>
void VisitNumbers(ModelConfig& config, Visitor&& visit) {
  visit("scale", config.attention.scale);
  visit("causal", config.attention.causal);
  visit("window", config.attention.window);
  visit("first_kept", config.attention.first_kept);
  visit("scale_output_init", config.scale_output_init);
}

HfConfig ToHfConfig(ModelConfig config) {
  HfConfig hf;
  hf.vocab_size = config.vocab_size;
  hf.hidden_size = config.hidden_size;
  hf.num_hidden_layers = config.num_hidden_layers;
  hf.num_attention_heads = config.num_attention_heads;
  hf.num_key_value_heads = config.KeyValueHeads();
  hf.head_dim = config.HeadDim();
  hf.intermediate_size = config.intermediate_size;
  hf.max_position_embeddings = config.max_position_embeddings;
  hf.rms_norm_eps = config.rms_norm_eps;
  hf.rope_theta = config.rope_theta;
  hf.initializer_range = config.initializer_range;
  hf.tie_word_embeddings = config.tie_word_embeddings;
  hf.bos_token_id = config.bos_token_id;
  hf.eos_token_id = config.eos_token_id;
  hf.attention = config.attention.weighting;
  hf.attention_constants = config.attention.constants;
  VisitNumbers(config, [&](const char* name, auto& field) {
    hf.attnlab_numbers[name] = static_cast<double>(field);
  });
  return hf;
}

absl::StatusOr<ModelConfig> FromHfConfig(const HfConfig& hf) {
  ModelConfig config;
  config.vocab_size = hf.vocab_size;
  config.hidden_size = hf.hidden_size;
  config.num_hidden_layers = hf.num_hidden_layers;
  config.num_attention_heads = hf.num_attention_heads;
  config.num_key_value_heads = hf.num_key_value_heads;
  config.head_dim = hf.head_dim;
  config.intermediate_size = hf.intermediate_size;
  config.max_position_embeddings = hf.max_position_embeddings;
  config.rms_norm_eps = hf.rms_norm_eps;
  config.rope_theta = hf.rope_theta;
  config.initializer_range = hf.initializer_range;
  config.tie_word_embeddings = hf.tie_word_embeddings;
  config.bos_token_id = hf.bos_token_id;
  config.eos_token_id = hf.eos_token_id;
  config.attention.weighting = hf.attention;
  config.attention.constants = hf.attention_constants;
  std::map<std::string, double> numbers = hf.attnlab_numbers;
  absl::Status status;
  VisitNumbers(config, [&](const char* name, auto& field) {
    const auto it = numbers.find(name);
    if (it == numbers.end()) return;
    // Outside this range the conversion to an integer is undefined.
    if (!(it->second >= -1e15 && it->second <= 1e15)) {
      status = absl::InvalidArgumentError(absl::StrFormat("attnlab.%s = %g", name, it->second));
      return;
    }
    field = static_cast<std::remove_reference_t<decltype(field)>>(it->second);
    numbers.erase(it);
  });
  ATTNLAB_RETURN_IF_ERROR(status);
  if (!numbers.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("attnlab.", numbers.begin()->first, " is not known to this version"));
  }
  ATTNLAB_RETURN_IF_ERROR(Validate(config));
  return config;
}

// The files that hold the weights: model.safetensors, or the shards that an index names.
absl::StatusOr<std::vector<std::string>> WeightFiles(const std::string& dir) {
  const std::string single = dir + "/model.safetensors", index = single + ".index.json";
  std::error_code ignored;
  if (std::filesystem::exists(single, ignored) || !std::filesystem::exists(index, ignored)) {
    return std::vector<std::string>{single};
  }
  ATTNLAB_ASSIGN_OR_RETURN(const Json json, Json::ParseFile(index));
  ATTNLAB_ASSIGN_OR_RETURN(const auto map, JsonRef(json, index)["weight_map"].Members());
  std::set<std::string> files;
  for (const auto& [tensor, file] : map) {
    ATTNLAB_ASSIGN_OR_RETURN(const absl::string_view name, file.String());
    if (name.empty() || name.find('/') != absl::string_view::npos) {
      return file.Error("a shard must be a file of the same folder");
    }
    files.insert(absl::StrCat(dir, "/", name));
  }
  return std::vector<std::string>(files.begin(), files.end());
}

struct Weight {
  TensorView view;
  std::string file;
};

// Some writers store the rotary frequencies, which follow from rope_theta.
bool IsRotaryFrequency(const std::string& name) {
  return name.size() > 8 && name.compare(name.size() - 8, 8, "inv_freq") == 0;
}

absl::Status CheckWeight(const ParameterSpec& spec, const Weight& weight) {
  const TensorView& view = weight.view;
  if (view.shape != spec.shape) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s: tensor %s has shape [%s], but config.json makes it [%s]", weight.file, spec.name,
        absl::StrJoin(view.shape, ", "), absl::StrJoin(spec.shape, ", ")));
  }
  if (view.dtype != TensorDType::kF32 && view.dtype != TensorDType::kBF16 &&
      view.dtype != TensorDType::kF16) {
    return absl::InvalidArgumentError(absl::StrCat(weight.file, ": tensor ", spec.name, " is ",
                                                   DTypeName(view.dtype),
                                                   ", a weight must be F32, BF16 or F16"));
  }
  return absl::OkStatus();
}

// One checked weight for each of `specs`, nothing missing and nothing left over.
absl::StatusOr<std::vector<Weight>> MatchWeights(
    const std::vector<ParameterSpec>& specs,
    const std::vector<std::unique_ptr<SafetensorsFile>>& files, const std::string& dir) {
  std::map<std::string, Weight> found;
  for (const auto& file : files) {
    for (const TensorView& view : file->tensors()) {
      if (IsRotaryFrequency(view.name)) continue;
      if (!found.emplace(view.name, Weight{view, file->path()}).second) {
        return absl::InvalidArgumentError(absl::StrCat(file->path(), ": tensor ", view.name,
                                                       " is in ", found[view.name].file, " too"));
      }
    }
  }
  std::vector<Weight> weights;
  for (const ParameterSpec& spec : specs) {
    const auto it = found.find(spec.name);
    if (it == found.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat(dir, ": tensor ", spec.name, " is missing from the weights"));
    }
    ATTNLAB_RETURN_IF_ERROR(CheckWeight(spec, it->second));
    weights.push_back(std::move(it->second));
    found.erase(it);
  }
  if (!found.empty()) {
    const auto& [name, weight] = *found.begin();
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s: tensor %s belongs to no part of the model that config.json describes (%d such)",
        weight.file, name, found.size()));
  }
  return weights;
}

}  // namespace

absl::Status SaveModel(const Transformer& model, const std::string& dir) {
  std::error_code error;
  std::filesystem::create_directories(dir, error);
  if (error) return ErrnoStatus(error.value(), "cannot make the folder", dir);
  ATTNLAB_RETURN_IF_ERROR(
      SaveTensors(dir + "/model.safetensors", model.NamedParameters(), {{"format", "pt"}}));
  return WriteHfConfig(dir + "/config.json", ToHfConfig(model.config()));
}

absl::StatusOr<ModelConfig> LoadModelConfig(const std::string& dir) {
  const std::string path = dir + "/config.json";
  ATTNLAB_ASSIGN_OR_RETURN(const HfConfig hf, ReadHfConfig(path));
  absl::StatusOr<ModelConfig> config = FromHfConfig(hf);
  if (!config.ok()) return Annotate(config.status(), path);
  return config;
}

absl::StatusOr<Transformer> LoadModel(const std::string& dir, at::Device device) {
  ATTNLAB_ASSIGN_OR_RETURN(const ModelConfig config, LoadModelConfig(dir));
  ATTNLAB_ASSIGN_OR_RETURN(const std::vector<std::string> paths, WeightFiles(dir));
  std::vector<std::unique_ptr<SafetensorsFile>> files;
  for (const std::string& path : paths) {
    ATTNLAB_ASSIGN_OR_RETURN(files.emplace_back(), SafetensorsFile::Open(path));
  }
  // Shapes are those of the files before anything is allocated: a config.json cannot ask for more
  // memory than its weights take.
  ATTNLAB_ASSIGN_OR_RETURN(const std::vector<Weight> weights,
                           MatchWeights(ParameterSpecs(config), files, dir));
  const Transformer model = Transformer::CreateEmpty(config, device, at::kFloat);
  const auto parameters = model.NamedParameters();
  for (size_t i = 0; i < parameters.size(); ++i) {
    parameters[i].second.copy_(TensorFromView(weights[i].view));
    parameters[i].second.set_requires_grad(true);
  }
  return model;
}

}  // namespace attnlab
