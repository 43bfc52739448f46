// A Llama-style decoder as plain structs of tensors; x is the residual stream, x_0 the embedding:
//
//     x <- x + Wo attention(rope(Wq n), rope(Wk n), Wv n)        n = rmsnorm(x)
//     x <- x + Wdown (silu(Wgate n) * (Wup n))                   n = rmsnorm(x)
//     logits = Whead rmsnorm(x)
//
// RoPE rotates the halves of a head (component i with i + D/2), as Hugging Face's Llama does, and
// the tensors have its names, so a model folder with softmax opens there as LlamaForCausalLM.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/attention/kv_cache.h"
#include "libs/model/config.h"
#include "libs/model/probe.h"
#include "libs/model/rope.h"
#include "libs/packed/slots.h"
#include "libs/packed/stored_matrix.h"

namespace attnlab {

// Weights are [out, in]. q, k, v lie one behind the other in one allocation, and gate and up in
// another, so that each group is one matrix product.
struct LayerParameters {
  at::Tensor input_norm;                    // [hidden]
  std::vector<at::Tensor> head_parameters;  // each [H]; HeadParameters(config.attention)
  at::Tensor post_norm;                     // [hidden]
  // By MatrixSlot: q [H * D, hidden], k and v [Hkv * D, hidden], o [hidden, H * D], gate and up
  // [intermediate, hidden], down [hidden, intermediate]. Either the numbers or, in `stored`, their
  // packed form is there.
  std::array<at::Tensor, kMatrixSlots.size()> matrices;
  std::array<std::shared_ptr<const StoredMatrix>, kMatrixSlots.size()> stored;
};

struct ForwardOptions {
  // Mixed precision: matrix products and attention in bfloat16 from weights that are cast on the
  // way; residual stream, norm statistics, softmax and losses stay in float32.
  bool bfloat16 = false;
  int64_t position_offset = 0;    // position of tokens[:, 0]
  ForwardProbe* probe = nullptr;  // sees what the pass computes; see libs/model/probe.h
};

class Transformer {
 public:
  // A model with initial weights in `dtype` (float32; float64 for tests). The weights depend on
  // (seed, tensor name, shape) alone: the same for every attention variant and on every device.
  // InvalidArgument when the config is not valid.
  static absl::StatusOr<Transformer> Create(const ModelConfig& config, uint64_t seed,
                                            at::Device device = at::kCPU,
                                            at::ScalarType dtype = at::kFloat);

  // A model whose tensors hold no values yet and have no gradient; for readers of files. `config`
  // is valid.
  static Transformer CreateEmpty(const ModelConfig& config, at::Device device,
                                 at::ScalarType dtype);
  // The same without its layers' matrices: each must be given by SetMatrix.
  static Transformer CreateWithoutMatrices(const ModelConfig& config, at::Device device,
                                           at::ScalarType dtype);

  const ModelConfig& config() const { return config_; }
  void SetKvCache(const KvQuantization& kv_cache) { config_.kv_cache = kv_cache; }
  at::Device device() const;

  // The leaves that training updates, in the order of ParameterSpecs(config()). With tied
  // embeddings there is no lm_head.weight; packed matrices have no entry. The tensors are the
  // model's own.
  std::vector<std::pair<std::string, at::Tensor>> NamedParameters() const;

  // The numbers of a matrix; undefined when it is packed.
  const at::Tensor& Matrix(int64_t layer, MatrixSlot slot) const;
  // Its packed form; null when it is numbers.
  const std::shared_ptr<const StoredMatrix>& Stored(int64_t layer, MatrixSlot slot) const;
  bool HasStored() const;
  // Puts numbers or a packed form of the same shape in the place of what is there.
  void SetMatrix(int64_t layer, MatrixSlot slot, const at::Tensor& numbers);
  void SetMatrix(int64_t layer, MatrixSlot slot, std::shared_ptr<const StoredMatrix> stored);

  // The forward pass a layer at a time: the embeddings of tokens [B, T], and the residual stream
  // [B, T, hidden] after layer `layer` from that before it. What follows the last layer is
  // Hidden's.
  at::Tensor Embed(const at::Tensor& tokens) const;
  at::Tensor RunLayer(int64_t layer, const at::Tensor& x, const ForwardOptions& options = {}) const;
  // Tells `probe` what the layer's matrices multiply, and leaves out the last product.
  void ProbeLayer(int64_t layer, const at::Tensor& x, ForwardProbe& probe,
                  const ForwardOptions& options = {}) const;

  // The residual stream after the final norm: [B, T, hidden], in the dtype of the matrix products.
  // tokens: [B, T] int64, each in [0, vocab_size).
  at::Tensor Hidden(const at::Tensor& tokens, const ForwardOptions& options = {}) const;

  // -log p(target) at each position: [B, T], float32 (float64 for a float64 model). A target below
  // 0 counts as 0 and has no gradient. Logits are never held for more than a chunk of positions.
  at::Tensor TokenLoss(const at::Tensor& tokens,   // [B, T] int64
                       const at::Tensor& targets,  // [B, T] int64
                       const ForwardOptions& options = {}) const;

  // [B, T, vocab_size], float32 (float64 for a float64 model).
  at::Tensor Logits(const at::Tensor& tokens, const ForwardOptions& options = {}) const;

  // Empty caches, one a layer, for `batch` sequences of at most `capacity` tokens.
  std::vector<KvCache> MakeCaches(int64_t batch, int64_t capacity, bool bfloat16 = false) const;

  // Appends tokens [B, T] to the caches and returns the logits of their last position: [B,
  // vocab_size]. No gradient. Positions follow from the caches, which have room for T more tokens.
  at::Tensor Decode(const at::Tensor& tokens, std::vector<KvCache>& caches,
                    const ForwardOptions& options = {}) const;

  // tokens [B, T] followed by `count` tokens, each the most likely next one: [B, T + count].
  at::Tensor GenerateGreedy(const at::Tensor& tokens, int64_t count,
                            const ForwardOptions& options = {}) const;

 private:
  explicit Transformer(ModelConfig config) : config_(std::move(config)) {}

  void Allocate(at::ScalarType dtype, at::Device device, bool matrices);
  at::Tensor Run(const at::Tensor& tokens, const ForwardOptions& options,
                 std::vector<KvCache>* caches) const;
  struct Pass;  // what the layers of one forward pass share
  at::Tensor LayerAttention(int64_t layer, const at::Tensor& normed, const Pass& pass) const;
  // What the layer's last matrix multiplies; `x` becomes the residual stream before its product,
  // `delta` is still to be added to it.
  at::Tensor LayerInner(int64_t layer, at::Tensor& x, at::Tensor& delta, const Pass& pass) const;
  // One layer: `x` and `delta`, which is still to be added to it, become those after the layer.
  void Layer(int64_t layer, at::Tensor& x, at::Tensor& delta, const Pass& pass) const;
  // x times the matrices of `slots`, side by side.
  at::Tensor Product(int64_t layer, const at::Tensor& x, std::initializer_list<MatrixSlot> slots,
                     const ForwardOptions& options) const;
  at::ScalarType ComputeType(const ForwardOptions& options) const;
  at::Tensor HeadLogits(const at::Tensor& hidden) const;
  const at::Tensor& Head() const { return config_.tie_word_embeddings ? embedding_ : head_; }

  ModelConfig config_;
  at::Tensor embedding_;  // [vocab, hidden]
  std::vector<LayerParameters> layers_;
  at::Tensor final_norm_;  // [hidden]
  at::Tensor head_;        // [vocab, hidden]; undefined when tied
  std::shared_ptr<RopeTable> rope_;
};

}  // namespace attnlab
