// Model folders: config.json both ways, and the weights matched with what it asks for.

#include "libs/model/model_io.h"

#include <c10/core/GradMode.h>

#include <filesystem>
#include <map>
#include <memory>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "libs/core/status.h"
#include "libs/io/hf_config.h"
#include "libs/io/json.h"
#include "libs/model/tensor_io.h"
#include "libs/model/weight_folder.h"
#include "libs/packed/formats.h"

namespace attnlab {
namespace {

constexpr char kLayerHeads[] = "layer_heads";

// The number of "attnlab" in config.json that stands for each field that Llama has not.
template <class Visitor>
void VisitNumbers(ModelConfig& config, Visitor&& visit) {
  visit("scale", config.attention.scale);
  visit("causal", config.attention.causal);
  visit("window", config.attention.window);
  visit("first_kept", config.attention.first_kept);
  visit("scale_output_init", config.scale_output_init);
  visit("kv_bits", config.kv_cache.bits);
  visit("kv_group", config.kv_cache.group);
  visit("kv_rotate", config.kv_cache.rotate);
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
  if (!config.layer_heads.empty()) hf.attnlab_lists[kLayerHeads] = config.layer_heads;
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
  if (const auto heads = hf.attnlab_lists.find(kLayerHeads); heads != hf.attnlab_lists.end()) {
    config.layer_heads = heads->second;
  }
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

bool IsNumbers(const ParameterSpec& spec, const Weight* weight) {
  return weight != nullptr && weight->view.shape == spec.shape &&
         (weight->view.dtype == TensorDType::kF32 || weight->view.dtype == TensorDType::kBF16 ||
          weight->view.dtype == TensorDType::kF16);
}

struct MatrixPlace {
  int64_t layer;
  MatrixSlot slot;
};

// The matrices of layers by the names of their weights.
std::map<std::string, MatrixPlace> MatrixPlaces(const ModelConfig& config) {
  std::map<std::string, MatrixPlace> places;
  for (int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    for (const MatrixSlot slot : kMatrixSlots) {
      places[MatrixName(layer, slot) + ".weight"] = {layer, slot};
    }
  }
  return places;
}

// What to copy or put where, all checked.
struct ModelWeights {
  struct Numbers {
    const ParameterSpec* spec;
    Weight weight;
  };
  struct Stored {
    MatrixPlace place;
    std::shared_ptr<const StoredMatrix> matrix;
  };
  std::vector<Numbers> numbers;
  std::vector<Stored> stored;
};

// One checked weight for each of `specs`, nothing missing and nothing left over.
absl::StatusOr<ModelWeights> MatchWeights(const std::vector<ParameterSpec>& specs,
                                          const ModelConfig& config, const Json& quantization,
                                          WeightFolder& folder) {
  const bool packed = JsonRef(quantization).present();
  const std::map<std::string, MatrixPlace> places = MatrixPlaces(config);
  ModelWeights weights;
  for (const ParameterSpec& spec : specs) {
    const auto place = places.find(spec.name);
    if (packed && place != places.end() && !IsNumbers(spec, folder.Find(spec.name))) {
      PackedTensors tensors(folder, MatrixName(place->second.layer, place->second.slot));
      ATTNLAB_ASSIGN_OR_RETURN(
          std::shared_ptr<const StoredMatrix> matrix,
          ReadStoredMatrix(tensors, spec.shape[0], spec.shape[1],
                           JsonRef(quantization, "config.json: quantization_config")));
      weights.stored.push_back({place->second, std::move(matrix)});
      continue;
    }
    ATTNLAB_ASSIGN_OR_RETURN(Weight weight, folder.Take(spec.name));
    ATTNLAB_RETURN_IF_ERROR(CheckWeight(spec, weight));
    weights.numbers.push_back({&spec, std::move(weight)});
  }
  ATTNLAB_RETURN_IF_ERROR(folder.CheckNothingIsLeft());
  return weights;
}

const char* TypeName(at::ScalarType dtype) {
  switch (dtype) {
    case at::kBFloat16:
      return "bfloat16";
    case at::kHalf:
      return "float16";
    default:
      return "float32";
  }
}

}  // namespace

absl::Status SaveModel(const Transformer& model, const std::string& dir,
                       const SaveOptions& options) {
  std::error_code error;
  std::filesystem::create_directories(dir, error);
  if (error) return ErrnoStatus(error.value(), "cannot make the folder", dir);
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  for (const auto& [name, tensor] : model.NamedParameters()) {
    tensors.emplace_back(name, tensor.detach().to(options.dtype));
  }
  for (const auto& [name, place] : MatrixPlaces(model.config())) {
    const auto& stored = model.Stored(place.layer, place.slot);
    if (stored == nullptr) continue;
    for (const auto& [suffix, tensor] : stored->Tensors()) {
      tensors.emplace_back(absl::StrCat(MatrixName(place.layer, place.slot), ".", suffix), tensor);
    }
  }
  ATTNLAB_RETURN_IF_ERROR(SaveTensors(dir + "/model.safetensors", tensors, {{"format", "pt"}}));
  HfConfig config = ToHfConfig(model.config());
  config.torch_dtype = TypeName(options.dtype);
  config.quantization = options.quantization;
  return WriteHfConfig(dir + "/config.json", config);
}

absl::StatusOr<at::ScalarType> LoadModelType(const std::string& dir) {
  ATTNLAB_ASSIGN_OR_RETURN(const HfConfig hf, ReadHfConfig(dir + "/config.json"));
  for (const at::ScalarType type : {at::kBFloat16, at::kHalf}) {
    if (hf.torch_dtype == TypeName(type)) return type;
  }
  return at::kFloat;
}

absl::StatusOr<ModelConfig> LoadModelConfig(const std::string& dir) {
  const std::string path = dir + "/config.json";
  ATTNLAB_ASSIGN_OR_RETURN(const HfConfig hf, ReadHfConfig(path));
  absl::StatusOr<ModelConfig> config = FromHfConfig(hf);
  if (!config.ok()) return Annotate(config.status(), path);
  return config;
}

absl::StatusOr<Transformer> LoadModel(const std::string& dir, at::Device device) {
  const std::string path = dir + "/config.json";
  ATTNLAB_ASSIGN_OR_RETURN(const HfConfig hf, ReadHfConfig(path));
  absl::StatusOr<ModelConfig> config = FromHfConfig(hf);
  if (!config.ok()) return Annotate(config.status(), path);
  ATTNLAB_ASSIGN_OR_RETURN(WeightFolder folder, WeightFolder::Open(dir));
  // Shapes are those of the files before anything is allocated: a config.json cannot ask for more
  // memory than its weights take.
  const std::vector<ParameterSpec> specs = ParameterSpecs(*config);
  ATTNLAB_ASSIGN_OR_RETURN(const ModelWeights weights,
                           MatchWeights(specs, *config, hf.quantization, folder));
  Transformer model = weights.stored.empty()
                          ? Transformer::CreateEmpty(*config, device, at::kFloat)
                          : Transformer::CreateWithoutMatrices(*config, device, at::kFloat);
  for (const ModelWeights::Stored& stored : weights.stored) {
    model.SetMatrix(stored.place.layer, stored.place.slot, stored.matrix->To(device));
  }
  // Of a partly packed model, the matrices that are numbers have no place yet.
  const std::map<std::string, MatrixPlace> places = MatrixPlaces(*config);
  std::map<std::string, at::Tensor> parameters;
  for (const auto& [name, tensor] : model.NamedParameters()) parameters[name] = tensor;
  for (const auto& [spec, weight] : weights.numbers) {
    if (const auto it = parameters.find(spec->name); it != parameters.end()) {
      it->second.copy_(TensorFromView(weight.view));
      it->second.set_requires_grad(true);
    } else {
      const MatrixPlace place = places.at(spec->name);
      model.SetMatrix(place.layer, place.slot, TensorFromView(weight.view));
    }
  }
  return model;
}

}  // namespace attnlab
