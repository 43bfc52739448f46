// The decoder's forward pass, and decoding against a cache of keys and values.

#include "libs/model/transformer.h"

#include <ATen/ops/argmax.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/embedding.h>
#include <c10/core/GradMode.h>

#include "libs/attention/op.h"
#include "libs/core/check.h"
#include "libs/model/fused_ops.h"

namespace attnlab {
at::Device Transformer::device() const { return embedding_.device(); }

std::vector<std::pair<std::string, at::Tensor>> Transformer::NamedParameters() const {
  std::vector<at::Tensor> tensors = {embedding_};
  for (const LayerParameters& layer : layers_) {
    const auto matrix = [&](MatrixSlot slot) {
      tensors.push_back(layer.matrices[static_cast<size_t>(slot)]);
    };
    tensors.push_back(layer.input_norm);
    for (const MatrixSlot slot : {MatrixSlot::kQ, MatrixSlot::kK, MatrixSlot::kV, MatrixSlot::kO}) {
      matrix(slot);
    }
    tensors.insert(tensors.end(), layer.head_parameters.begin(), layer.head_parameters.end());
    tensors.push_back(layer.post_norm);
    for (const MatrixSlot slot : {MatrixSlot::kGate, MatrixSlot::kUp, MatrixSlot::kDown}) {
      matrix(slot);
    }
  }
  tensors.push_back(final_norm_);
  if (!config_.tie_word_embeddings) tensors.push_back(head_);

  const std::vector<ParameterSpec> specs = ParameterSpecs(config_);
  ATTNLAB_CHECK(specs.size() == tensors.size());
  std::vector<std::pair<std::string, at::Tensor>> named;
  for (size_t i = 0; i < specs.size(); ++i) {
    if (!tensors[i].defined()) continue;  // packed
    ATTNLAB_CHECK(tensors[i].sizes() == at::IntArrayRef(specs[i].shape), specs[i].name);
    named.emplace_back(specs[i].name, tensors[i]);
  }
  return named;
}

const at::Tensor& Transformer::Matrix(int64_t layer, MatrixSlot slot) const {
  return layers_[layer].matrices[static_cast<size_t>(slot)];
}

const std::shared_ptr<const StoredMatrix>& Transformer::Stored(int64_t layer,
                                                               MatrixSlot slot) const {
  return layers_[layer].stored[static_cast<size_t>(slot)];
}

bool Transformer::HasStored() const {
  for (const LayerParameters& layer : layers_) {
    for (const auto& stored : layer.stored) {
      if (stored != nullptr) return true;
    }
  }
  return false;
}

void Transformer::SetMatrix(int64_t layer, MatrixSlot slot, const at::Tensor& numbers) {
  LayerParameters& parameters = layers_[layer];
  const size_t index = static_cast<size_t>(slot);
  parameters.stored[index] = nullptr;
  at::Tensor& matrix = parameters.matrices[index];
  if (matrix.defined() && matrix.sizes() == numbers.sizes()) {
    matrix.detach().copy_(numbers);  // stays beside those it shares a product with
  } else {
    matrix = numbers.detach().to(embedding_.options(), /*non_blocking=*/false, /*copy=*/true);
  }
}

void Transformer::SetMatrix(int64_t layer, MatrixSlot slot,
                            std::shared_ptr<const StoredMatrix> stored) {
  LayerParameters& parameters = layers_[layer];
  const size_t index = static_cast<size_t>(slot);
  parameters.matrices[index] = at::Tensor();
  parameters.stored[index] = std::move(stored);
}

struct Transformer::Pass {
  const ForwardOptions& options;
  at::ScalarType compute;        // of the matrix products
  at::Tensor cos, sin;           // [T, D / 2]
  std::vector<KvCache>* caches;  // null: the tokens attend to each other alone
};

at::Tensor Transformer::Product(int64_t index, const at::Tensor& x,
                                std::initializer_list<MatrixSlot> slots,
                                const ForwardOptions& options) const {
  const LayerParameters& layer = layers_[index];
  if (options.probe != nullptr) options.probe->OnMatrixInput(index, *slots.begin(), x);
  std::vector<at::Tensor> numbers, products;
  for (const MatrixSlot slot : slots) {
    const auto& stored = layer.stored[static_cast<size_t>(slot)];
    if (stored == nullptr) numbers.push_back(layer.matrices[static_cast<size_t>(slot)]);
  }
  if (numbers.size() == slots.size()) return PackedLinear(x, numbers);
  for (const MatrixSlot slot : slots) {
    const size_t i = static_cast<size_t>(slot);
    products.push_back(layer.stored[i] != nullptr ? layer.stored[i]->Product(x)
                                                  : PackedLinear(x, {layer.matrices[i]}));
  }
  return products.size() == 1 ? products[0] : at::cat(products, -1);
}

at::Tensor Transformer::LayerAttention(int64_t index, const at::Tensor& normed,
                                       const Pass& pass) const {
  const LayerParameters& layer = layers_[index];
  const ForwardOptions& options = pass.options;
  auto [q, k, v] =
      SplitRotate(Product(index, normed, {MatrixSlot::kQ, MatrixSlot::kK, MatrixSlot::kV}, options),
                  config_.Heads(index), config_.KeyValueHeads(index), pass.cos, pass.sin);
  if (config_.kv_cache.rotate) {
    q = RotateHeads(q);
    k = RotateHeads(k);
  }
  at::Tensor out;
  if (pass.caches == nullptr) {
    k = QuantizeDequantize(k, config_.kv_cache);
    v = QuantizeDequantize(v, config_.kv_cache);
    out = Attention(q, k, v, config_.attention, layer.head_parameters);
  } else {
    KvCache& cache = (*pass.caches)[index];
    cache.Append(k, v);
    k = cache.keys();
    v = cache.values();
    out = CachedAttention(q, cache, config_.attention, layer.head_parameters);
  }
  if (options.probe != nullptr) {
    options.probe->OnAttention(index, q, k, v, out, config_.attention, layer.head_parameters);
  }
  return Product(index, out.transpose(1, 2).flatten(2), {MatrixSlot::kO}, options);
}

at::Tensor Transformer::LayerInner(int64_t index, at::Tensor& x, at::Tensor& delta,
                                   const Pass& pass) const {
  const LayerParameters& layer = layers_[index];
  const double eps = config_.rms_norm_eps;
  at::Tensor normed;
  std::tie(x, normed) = AddRmsNorm(x, delta, layer.input_norm, eps, pass.compute);
  if (pass.options.probe != nullptr) pass.options.probe->OnHidden(index, x);
  delta = LayerAttention(index, normed, pass);

  std::tie(x, normed) = AddRmsNorm(x, delta, layer.post_norm, eps, pass.compute);
  return SwiGlu(Product(index, normed, {MatrixSlot::kGate, MatrixSlot::kUp}, pass.options));
}

void Transformer::Layer(int64_t index, at::Tensor& x, at::Tensor& delta, const Pass& pass) const {
  const at::Tensor inner = LayerInner(index, x, delta, pass);
  delta = Product(index, inner, {MatrixSlot::kDown}, pass.options);
}

at::Tensor Transformer::Embed(const at::Tensor& tokens) const {
  ATTNLAB_CHECK(tokens.dim() == 2 && tokens.scalar_type() == at::kLong);
  return at::embedding(embedding_, tokens);
}

at::Tensor Transformer::RunLayer(int64_t layer, const at::Tensor& x,
                                 const ForwardOptions& options) const {
  const auto [cos, sin] = rope_->Rows(options.position_offset, x.size(1));
  at::Tensor sum = x, delta;
  Layer(layer, sum, delta, {options, ComputeType(options), cos, sin, nullptr});
  return sum.add(delta);
}

void Transformer::ProbeLayer(int64_t layer, const at::Tensor& x, ForwardProbe& probe,
                             const ForwardOptions& options) const {
  ForwardOptions probed = options;
  probed.probe = &probe;
  const auto [cos, sin] = rope_->Rows(options.position_offset, x.size(1));
  at::Tensor sum = x, delta;
  const at::Tensor inner =
      LayerInner(layer, sum, delta, {probed, ComputeType(options), cos, sin, nullptr});
  probe.OnMatrixInput(layer, MatrixSlot::kDown, inner);
}

at::ScalarType Transformer::ComputeType(const ForwardOptions& options) const {
  return options.bfloat16 ? at::kBFloat16 : embedding_.scalar_type();
}

at::Tensor Transformer::Run(const at::Tensor& tokens, const ForwardOptions& options,
                            std::vector<KvCache>* caches) const {
  const auto [cos, sin] = rope_->Rows(options.position_offset, tokens.size(1));
  const Pass pass{options, ComputeType(options), cos, sin, caches};
  at::Tensor x = Embed(tokens);
  at::Tensor delta, normed;  // what the last block adds to x; the norm of x
  for (int64_t index = 0; index < config_.num_hidden_layers; ++index) Layer(index, x, delta, pass);
  std::tie(x, normed) = AddRmsNorm(x, delta, final_norm_, config_.rms_norm_eps, pass.compute);
  if (options.probe != nullptr) {
    options.probe->OnHidden(config_.num_hidden_layers, x);
    options.probe->OnFinalNorm(normed);
  }
  return normed;
}

at::Tensor Transformer::Hidden(const at::Tensor& tokens, const ForwardOptions& options) const {
  return Run(tokens, options, nullptr);
}

at::Tensor Transformer::TokenLoss(const at::Tensor& tokens, const at::Tensor& targets,
                                  const ForwardOptions& options) const {
  ATTNLAB_CHECK(targets.sizes() == tokens.sizes() && targets.scalar_type() == at::kLong);
  const at::Tensor hidden = Hidden(tokens, options).flatten(0, 1);
  return LinearCrossEntropy(hidden, Head(), targets.flatten()).view(tokens.sizes());
}

at::Tensor Transformer::HeadLogits(const at::Tensor& hidden) const {
  return PackedLinear(hidden, {Head()}).to(embedding_.scalar_type());
}

at::Tensor Transformer::Logits(const at::Tensor& tokens, const ForwardOptions& options) const {
  return HeadLogits(Hidden(tokens, options));
}

std::vector<KvCache> Transformer::MakeCaches(int64_t batch, int64_t capacity, bool bfloat16) const {
  const at::TensorOptions like =
      at::TensorOptions(device()).dtype(bfloat16 ? at::kBFloat16 : embedding_.scalar_type());
  const int64_t dim = config_.HeadDim();
  std::vector<KvCache> caches;
  for (int64_t i = 0; i < config_.num_hidden_layers; ++i) {
    caches.emplace_back(batch, config_.KeyValueHeads(i), capacity, dim, dim, like,
                        config_.kv_cache);
  }
  return caches;
}

at::Tensor Transformer::Decode(const at::Tensor& tokens, std::vector<KvCache>& caches,
                               const ForwardOptions& options) const {
  const c10::AutoGradMode no_grad(false);
  ForwardOptions here = options;
  here.position_offset = caches[0].length();
  const at::Tensor hidden = Run(tokens, here, &caches);
  return HeadLogits(hidden.narrow(1, tokens.size(1) - 1, 1)).squeeze(1);
}

at::Tensor Transformer::GenerateGreedy(const at::Tensor& tokens, int64_t count,
                                       const ForwardOptions& options) const {
  const c10::AutoGradMode no_grad(false);
  std::vector<KvCache> caches =
      MakeCaches(tokens.size(0), tokens.size(1) + count, options.bfloat16);
  std::vector<at::Tensor> parts = {tokens};
  for (int64_t i = 0; i < count; ++i) {
    parts.push_back(Decode(parts.back(), caches, options).argmax(1, /*keepdim=*/true));
  }
  return at::cat(parts, 1);
}

}  // namespace attnlab
