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
    tensors.insert(tensors.end(), {layer.input_norm, layer.q, layer.k, layer.v, layer.o});
    tensors.insert(tensors.end(), layer.head_parameters.begin(), layer.head_parameters.end());
    tensors.insert(tensors.end(), {layer.post_norm, layer.gate, layer.up, layer.down});
  }
  tensors.push_back(final_norm_);
  if (!config_.tie_word_embeddings) tensors.push_back(head_);

  const std::vector<ParameterSpec> specs = ParameterSpecs(config_);
  ATTNLAB_CHECK(specs.size() == tensors.size());
  std::vector<std::pair<std::string, at::Tensor>> named;
  for (size_t i = 0; i < specs.size(); ++i) {
    ATTNLAB_CHECK(tensors[i].sizes() == at::IntArrayRef(specs[i].shape), specs[i].name);
    named.emplace_back(specs[i].name, tensors[i]);
  }
  return named;
}

at::Tensor Transformer::LayerAttention(int64_t index, const at::Tensor& normed,
                                       const at::Tensor& cos, const at::Tensor& sin,
                                       const ForwardOptions& options,
                                       std::vector<KvCache>* caches) const {
  const LayerParameters& layer = layers_[index];
  auto [q, k, v] = SplitRotate(PackedLinear(normed, {layer.q, layer.k, layer.v}),
                               config_.num_attention_heads, config_.KeyValueHeads(), cos, sin);
  at::Tensor out;
  if (caches == nullptr) {
    out = Attention(q, k, v, config_.attention, layer.head_parameters);
  } else {
    KvCache& cache = (*caches)[index];
    cache.Append(k, v);
    k = cache.keys();
    v = cache.values();
    out = CachedAttention(q, cache, config_.attention, layer.head_parameters);
  }
  if (options.probe != nullptr) {
    options.probe->OnAttention(index, q, k, v, out, config_.attention, layer.head_parameters);
  }
  return PackedLinear(out.transpose(1, 2).flatten(2), {layer.o});
}

at::Tensor Transformer::Run(const at::Tensor& tokens, const ForwardOptions& options,
                            std::vector<KvCache>* caches) const {
  ATTNLAB_CHECK(tokens.dim() == 2 && tokens.scalar_type() == at::kLong);
  const at::ScalarType compute = options.bfloat16 ? at::kBFloat16 : embedding_.scalar_type();
  const double eps = config_.rms_norm_eps;
  const auto [cos, sin] = rope_->Rows(options.position_offset, tokens.size(1));

  at::Tensor x = at::embedding(embedding_, tokens);
  at::Tensor delta, normed;  // what the last block adds to x; the norm of x
  for (int64_t index = 0; index < config_.num_hidden_layers; ++index) {
    const LayerParameters& layer = layers_[index];
    std::tie(x, normed) = AddRmsNorm(x, delta, layer.input_norm, eps, compute);
    if (options.probe != nullptr) options.probe->OnHidden(index, x);
    delta = LayerAttention(index, normed, cos, sin, options, caches);

    std::tie(x, normed) = AddRmsNorm(x, delta, layer.post_norm, eps, compute);
    delta = PackedLinear(SwiGlu(PackedLinear(normed, {layer.gate, layer.up})), {layer.down});
  }
  std::tie(x, normed) = AddRmsNorm(x, delta, final_norm_, eps, compute);
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
    caches.emplace_back(batch, config_.KeyValueHeads(), capacity, dim, dim, like);
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
