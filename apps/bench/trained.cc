#include "apps/bench/trained.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "libs/core/files.h"
#include "libs/core/log.h"
#include "libs/core/rng.h"
#include "libs/core/status.h"
#include "libs/model/probe.h"

namespace attnlab {
namespace {

constexpr int64_t kTokens = 16384;

// Keeps the operands of every attention of a pass.
class OperandProbe : public ForwardProbe {
 public:
  OperandProbe(std::string model, at::ScalarType dtype) : model_(std::move(model)), dtype_(dtype) {}

  void OnAttention(int64_t layer, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                   const at::Tensor& out, const AttentionOptions& options,
                   const std::vector<at::Tensor>& head_parameters) override {
    TrainedLayer& kept = layers_.emplace_back();
    kept.inputs = {Keep(q), Keep(k), Keep(v), at::Tensor(),
                   absl::StrCat("layer ", layer, " of ", model_)};
    kept.inputs.out_grad = at::empty_like(Keep(out)).normal_();
    kept.options = options;
    for (const at::Tensor& t : head_parameters) {
      kept.learned.push_back(t.detach().to(at::kFloat).contiguous());
    }
  }

  std::vector<TrainedLayer> Take() { return std::move(layers_); }

 private:
  // [B, H, T, D], in memory [B, T, H, D].
  at::Tensor Keep(const at::Tensor& t) const {
    return t.detach().transpose(1, 2).to(dtype_).contiguous().transpose(1, 2);
  }

  const std::string model_;
  const at::ScalarType dtype_;
  std::vector<TrainedLayer> layers_;
};

absl::StatusOr<std::vector<int32_t>> TextTokens(const std::string& path, const Subject& subject) {
  if (subject.tokenizer == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat(subject.folder, " has no tokenizer, so --text cannot be read"));
  }
  ATTNLAB_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  std::vector<int32_t> ids = subject.tokenizer->Encode(text);
  if (ids.empty()) return absl::InvalidArgumentError(absl::StrCat(path, " holds no tokens"));
  return ids;
}

// As many held-out sequences as there are, at most `batch`, one behind the other.
absl::StatusOr<std::vector<int32_t>> HeldOutTokens(BatchSource& source, int64_t batch) {
  std::vector<int32_t> ids;
  int64_t rows = 0;
  for (int64_t i = 0; i < source.validation_batches() && rows < batch; ++i) {
    ATTNLAB_ASSIGN_OR_RETURN(const TokenBatch read, source.Validation(i));
    for (int64_t row = 0; row < read.rows && rows < batch; ++row, ++rows) {
      ids.insert(ids.end(), read.Row(row), read.Row(row) + read.columns - 1);
    }
  }
  return ids;
}

// [batch, tokens] on the CPU; what there is starts again where it ends.
absl::StatusOr<at::Tensor> Tokens(const std::string& text, const Subject& subject, int64_t batch,
                                  int64_t tokens) {
  std::vector<int32_t> ids;
  if (!text.empty()) {
    ATTNLAB_ASSIGN_OR_RETURN(ids, TextTokens(text, subject));
  } else if (subject.held_out != nullptr) {
    ATTNLAB_ASSIGN_OR_RETURN(ids, HeldOutTokens(*subject.held_out, batch));
  }
  if (ids.empty()) ids = DrawnTokens(batch * tokens, subject.model->config().vocab_size);
  const size_t count = ids.size();
  for (size_t i = 0; static_cast<int64_t>(ids.size()) < batch * tokens; ++i) {
    ids.push_back(ids[i % count]);
  }
  ids.resize(batch * tokens);
  return at::tensor(ids).to(at::kLong).view({batch, tokens});
}

}  // namespace

std::vector<int32_t> DrawnTokens(int64_t count, int64_t vocab_size) {
  Rng rng(1, "bench tokens");
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < count; ++i) {
    const double u = rng.Uniform();
    ids.push_back(static_cast<int32_t>(static_cast<double>(vocab_size) * u * u * u));
  }
  return ids;
}

absl::StatusOr<std::vector<TrainedLayer>> TrainedLayers(const TrainedOptions& options,
                                                        at::Device device, at::ScalarType dtype) {
  SubjectOptions opened;
  opened.model = options.model;
  opened.device = device.str();
  opened.sequence_length = options.tokens;
  opened.open_held_out = options.text.empty();
  ATTNLAB_ASSIGN_OR_RETURN(const Subject subject, OpenSubject(opened));
  const int64_t tokens =
      options.tokens > 0 ? options.tokens : subject.model->config().max_position_embeddings;
  const int64_t batch = options.batch > 0 ? options.batch : std::max<int64_t>(1, kTokens / tokens);
  ATTNLAB_ASSIGN_OR_RETURN(const at::Tensor ids, Tokens(options.text, subject, batch, tokens));
  OperandProbe probe(subject.name, dtype);
  ForwardOptions forward = subject.forward;
  forward.probe = &probe;
  const at::NoGradGuard no_grad;
  subject.model->Hidden(ids.to(device), forward);
  return probe.Take();
}

}  // namespace attnlab
