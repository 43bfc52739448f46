// Models on disk, in the Hugging Face layout: a folder with config.json and model.safetensors.
//
// A softmax model is a LlamaForCausalLM to other software. What Llama has no field for (the
// attention variant and its constants, the initialisation) stands under "attnlab" in config.json.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/io/json.h"
#include "libs/model/transformer.h"

namespace attnlab {

struct SaveOptions {
  at::ScalarType dtype = at::kFloat;  // of the weights that are numbers; also kBFloat16, kHalf
  Json quantization;                  // quantization_config of packed matrices
};

// Writes config.json and model.safetensors into the folder `dir`, which is made when missing.
absl::Status SaveModel(const Transformer& model, const std::string& dir,
                       const SaveOptions& options = {});

// Reads a folder that SaveModel or transformers wrote (float32, bfloat16 or float16; one file or
// shards with an index; matrices of layers also packed, in the layouts of libs/packed). An error
// names the file and the tensor that is missing, unknown, or of the wrong shape or dtype.
absl::StatusOr<Transformer> LoadModel(const std::string& dir, at::Device device = at::kCPU);

// The config of a model folder alone.
absl::StatusOr<ModelConfig> LoadModelConfig(const std::string& dir);

// The dtype that config.json says the weights have.
absl::StatusOr<at::ScalarType> LoadModelType(const std::string& dir);

}  // namespace attnlab
