// What attention heads are worth.

#include <ATen/TensorOperators.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include "libs/attention/op.h"
#include "libs/compress/heads.h"

namespace attnlab {
namespace {

HeadScores Zeros(const ModelConfig& config) {
  HeadScores scores;
  for (int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    scores.push_back(at::zeros({config.Heads(layer)}, at::kDouble));
  }
  return scores;
}

// The loss of each sequence: [B].
at::Tensor SequenceLoss(const Transformer& model, const at::Tensor& tokens,
                        ForwardProbe* probe = nullptr) {
  const at::Tensor x = tokens.to(model.device());
  return model
      .TokenLoss(x.slice(1, 0, -1).contiguous(), x.slice(1, 1).contiguous(), {.probe = probe})
      .mean(1);
}

double MeanLoss(const Transformer& model, const at::Tensor& tokens, int64_t batch) {
  double sum = 0;
  for (const at::Tensor& part : tokens.split(batch)) {
    sum += SequenceLoss(model, part).sum(at::kDouble).item<double>();
  }
  return sum / static_cast<double>(tokens.size(0));
}

// Attention over values of one puts out the sum of its weights.
class RowSumProbe : public ForwardProbe {
 public:
  explicit RowSumProbe(HeadScores& sums) : sums_(sums) {}

  void OnAttention(int64_t layer, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                   const at::Tensor& /*out*/, const AttentionOptions& options,
                   const std::vector<at::Tensor>& head_parameters) override {
    const at::Tensor sums = Attention(q, k, at::ones_like(v), options, head_parameters);
    sums_[layer] += sums.select(3, 0).to(at::kDouble).mean(2).sum(0).cpu();
  }

 private:
  HeadScores& sums_;
};

// Keeps every layer's heads for the backward pass.
class OutputsProbe : public ForwardProbe {
 public:
  void OnAttention(int64_t /*layer*/, const at::Tensor& /*q*/, const at::Tensor& /*k*/,
                   const at::Tensor& /*v*/, const at::Tensor& out,
                   const AttentionOptions& /*options*/,
                   const std::vector<at::Tensor>& /*head_parameters*/) override {
    out.retain_grad();
    outputs.push_back(out);
  }

  std::vector<at::Tensor> outputs;  // by layer: [B, H, T, D]
};

}  // namespace

HeadScores HeadRowSums(const Transformer& model, const at::Tensor& tokens, int64_t batch) {
  const c10::NoGradGuard no_grad;
  HeadScores sums = Zeros(model.config());
  RowSumProbe probe(sums);
  for (const at::Tensor& part : tokens.split(batch)) {
    model.Hidden(part.to(model.device()), {.probe = &probe});
  }
  for (at::Tensor& layer : sums) layer /= static_cast<double>(tokens.size(0));
  return sums;
}

HeadScores HeadImportance(const Transformer& model, const at::Tensor& tokens, int64_t batch) {
  const c10::AutoGradMode gradients(true);
  HeadScores scores = Zeros(model.config());
  for (const auto& [name, tensor] : model.NamedParameters()) tensor.set_requires_grad(true);
  for (const at::Tensor& part : tokens.split(batch)) {
    OutputsProbe probe;
    SequenceLoss(model, part, &probe).sum().backward();
    for (size_t layer = 0; layer < scores.size(); ++layer) {
      const at::Tensor& out = probe.outputs[layer];
      const at::Tensor slope = (out.detach() * out.grad()).to(at::kDouble).sum({2, 3});  // [B, H]
      scores[layer] += slope.abs().sum(0).cpu();
    }
    for (const auto& [name, tensor] : model.NamedParameters()) tensor.mutable_grad().reset();
  }
  for (at::Tensor& layer : scores) layer /= static_cast<double>(tokens.size(0));
  return scores;
}

HeadScores HeadAblation(Transformer& model, const at::Tensor& tokens, int64_t batch) {
  const c10::NoGradGuard no_grad;
  const int64_t width = model.config().HeadDim();
  HeadScores rises = Zeros(model.config());
  const double whole = MeanLoss(model, tokens, batch);
  for (size_t layer = 0; layer < rises.size(); ++layer) {
    for (int64_t head = 0; head < rises[layer].size(0); ++head) {
      const at::Tensor columns = model.Matrix(static_cast<int64_t>(layer), MatrixSlot::kO)
                                     .slice(1, head * width, (head + 1) * width);
      const at::Tensor before = columns.clone();
      columns.zero_();
      rises[layer][head] = MeanLoss(model, tokens, batch) - whole;
      columns.copy_(before);
    }
  }
  return rises;
}

}  // namespace attnlab
