// A model with its initial weights: the tensors, and the numbers that they start with.

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include "libs/core/check.h"
#include "libs/core/rng.h"
#include "libs/core/status.h"
#include "libs/model/cpu_setup.h"
#include "libs/model/transformer.h"

namespace attnlab {
namespace {

// Tensors of `rows` rows each, one behind the other in one allocation.
std::vector<at::Tensor> AllocatePacked(const std::vector<int64_t>& rows, int64_t width,
                                       const at::TensorOptions& options) {
  int64_t total = 0;
  for (const int64_t count : rows) total += count;
  const at::Tensor packed = at::empty({total, width}, options);
  std::vector<at::Tensor> parts;
  int64_t begin = 0;
  for (const int64_t count : rows) {
    parts.push_back(packed.narrow(0, begin, count).detach());
    begin += count;
  }
  return parts;
}

at::Tensor InitialValues(const ParameterSpec& spec, uint64_t seed, at::ScalarType dtype) {
  at::Tensor values = at::empty(spec.shape, at::kFloat);
  float* data = values.mutable_data_ptr<float>();
  Rng rng(seed, "init/" + spec.name);
  for (int64_t i = 0, count = spec.Count(); i < count; ++i) {
    data[i] =
        static_cast<float>(spec.stddev == 0 ? spec.mean : spec.mean + spec.stddev * rng.Normal());
  }
  return values.to(dtype);
}

}  // namespace

void Transformer::Allocate(at::ScalarType dtype, at::Device device, bool matrices) {
  const at::TensorOptions options = at::TensorOptions(dtype).device(device);
  const int64_t hidden = config_.hidden_size, inner = config_.intermediate_size;
  embedding_ = at::empty({config_.vocab_size, hidden}, options);
  for (int64_t i = 0; i < config_.num_hidden_layers; ++i) {
    LayerParameters layer;
    layer.input_norm = at::empty({hidden}, options);
    layer.post_norm = at::empty({hidden}, options);
    for (size_t p = 0; p < HeadParameters(config_.attention).size(); ++p) {
      layer.head_parameters.push_back(at::empty({config_.Heads(i)}, options));
    }
    if (matrices) {
      const int64_t q_size = config_.Heads(i) * config_.HeadDim();
      const int64_t kv_size = config_.KeyValueHeads(i) * config_.HeadDim();
      const auto qkv = AllocatePacked({q_size, kv_size, kv_size}, hidden, options);
      const auto gate_up = AllocatePacked({inner, inner}, hidden, options);
      layer.matrices = {qkv[0],
                        qkv[1],
                        qkv[2],
                        at::empty({hidden, q_size}, options),
                        gate_up[0],
                        gate_up[1],
                        at::empty({hidden, inner}, options)};
    }
    layers_.push_back(std::move(layer));
  }
  final_norm_ = at::empty({hidden}, options);
  if (!config_.tie_word_embeddings) head_ = at::empty({config_.vocab_size, hidden}, options);
  rope_ = std::make_shared<RopeTable>(config_.HeadDim(), config_.rope_theta, device, dtype);
}

Transformer Transformer::CreateEmpty(const ModelConfig& config, at::Device device,
                                     at::ScalarType dtype) {
  ATTNLAB_CHECK(dtype == at::kFloat || dtype == at::kDouble);
  PrepareCpu();
  Transformer model(config);
  model.Allocate(dtype, device, /*matrices=*/true);
  return model;
}

Transformer Transformer::CreateWithoutMatrices(const ModelConfig& config, at::Device device,
                                               at::ScalarType dtype) {
  ATTNLAB_CHECK(dtype == at::kFloat || dtype == at::kDouble);
  PrepareCpu();
  Transformer model(config);
  model.Allocate(dtype, device, /*matrices=*/false);
  return model;
}

absl::StatusOr<Transformer> Transformer::Create(const ModelConfig& config, uint64_t seed,
                                                at::Device device, at::ScalarType dtype) {
  ATTNLAB_RETURN_IF_ERROR(Annotate(Validate(config), "model"));
  const Transformer model = CreateEmpty(config, device, dtype);
  const std::vector<ParameterSpec> specs = ParameterSpecs(config);
  const std::vector<std::pair<std::string, at::Tensor>> parameters = model.NamedParameters();
  at::parallel_for(0, specs.size(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      parameters[i].second.copy_(InitialValues(specs[i], seed, dtype));
    }
  });
  for (const auto& [name, tensor] : parameters) tensor.set_requires_grad(true);
  return model;
}

}  // namespace attnlab
