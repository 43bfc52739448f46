#include "libs/compress/rotation.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>
#include <c10/core/GradMode.h>

#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "libs/attention/hadamard.h"
#include "libs/core/check.h"
#include "libs/core/rng.h"
#include "libs/core/status.h"

namespace attnlab {
namespace {

// The residual stream's rotation, x -> x D H, applied to the last dimension.
class ResidualRotation {
 public:
  ResidualRotation(int64_t width, uint64_t seed, at::Device device) {
    Rng rng(seed, "rotation");
    std::vector<double> signs(width);
    for (double& sign : signs) sign = rng.Below(2) == 0 ? 1.0 : -1.0;
    signs_ = at::tensor(signs, at::kDouble).to(device);
  }
  at::Tensor operator()(const at::Tensor& x) const { return HadamardTransform(x * signs_); }

 private:
  at::Tensor signs_;
};

class Rotator {
 public:
  Rotator(Transformer& model, uint64_t seed)
      : config_(model.config()), turn_(config_.hidden_size, seed, model.device()) {
    for (const auto& [name, tensor] : model.NamedParameters()) tensors_[name] = tensor.detach();
  }

  void Run() {
    for (int64_t layer = 0; layer < config_.num_hidden_layers; ++layer) {
      const std::string at = absl::StrCat("model.layers.", layer, ".");
      FoldGain(at + "input_layernorm.weight",
               {at + "self_attn.q_proj.weight", at + "self_attn.k_proj.weight",
                at + "self_attn.v_proj.weight"});
      FoldGain(at + "post_attention_layernorm.weight",
               {at + "mlp.gate_proj.weight", at + "mlp.up_proj.weight"});
      for (const char* reader : {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                                 "mlp.gate_proj", "mlp.up_proj"}) {
        Change(absl::StrCat(at, reader, ".weight"), turn_);
      }
      for (const char* writer : {"self_attn.o_proj", "mlp.down_proj"}) {
        Change(absl::StrCat(at, writer, ".weight"),
               [&](const at::Tensor& w) { return turn_(w.t()).t(); });
      }
      TurnValues(at);
    }
    FoldGain("model.norm.weight", {"lm_head.weight"});
    Change("model.embed_tokens.weight", turn_);
    Change("lm_head.weight", turn_);
  }

 private:
  template <class Function>
  void Change(const std::string& name, const Function& function) {
    const at::Tensor& tensor = Find(name);
    tensor.copy_(function(tensor.to(at::kDouble)));
  }

  void FoldGain(const std::string& norm, const std::vector<std::string>& readers) {
    const at::Tensor gain = Find(norm).to(at::kDouble);
    for (const std::string& reader : readers) {
      Change(reader, [&](const at::Tensor& w) { return w * gain; });
    }
    Find(norm).fill_(1);
  }

  void TurnValues(const std::string& at) {
    const int64_t dim = config_.HeadDim();
    Change(at + "self_attn.v_proj.weight", [&](const at::Tensor& w) {
      return HadamardTransform(w.t().unflatten(1, {-1, dim})).flatten(1).t();
    });
    Change(at + "self_attn.o_proj.weight", [&](const at::Tensor& w) {
      return HadamardTransform(w.unflatten(1, {-1, dim})).flatten(1);
    });
  }

  const at::Tensor& Find(const std::string& name) const {
    const auto found = tensors_.find(name);
    ATTNLAB_CHECK(found != tensors_.end(), name);
    return found->second;
  }

  const ModelConfig& config_;
  const ResidualRotation turn_;
  std::map<std::string, at::Tensor> tensors_;
};

}  // namespace

absl::Status CheckRotation(const ModelConfig& config) {
  if (!config.tie_word_embeddings) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "rotation = hadamard: the model's embedding is tied to its head, and the rotation gives the "
      "two different factors; use rotation = none or a model with tie_word_embeddings = false");
}

absl::Status RotateModel(Transformer& model, uint64_t seed) {
  ATTNLAB_RETURN_IF_ERROR(CheckRotation(model.config()));
  ATTNLAB_CHECK(!model.HasStored());
  const c10::AutoGradMode no_grad(false);
  Rotator(model, seed).Run();
  return absl::OkStatus();
}

}  // namespace attnlab
