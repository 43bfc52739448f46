#include "libs/train/measure.h"

#include <ATen/ops/from_blob.h>
#include <c10/core/GradMode.h>

#include <cmath>
#include <numbers>
#include <vector>

#include "absl/strings/str_cat.h"
#include "libs/analysis/analyze.h"
#include "libs/core/status.h"
#include "libs/io/result_names.h"
#include "libs/model/model_io.h"
#include "libs/text/tokenizer.h"

namespace attnlab {

DeviceBatch ToDevice(const TokenBatch& batch, at::Device device) {
  const at::Tensor tokens =
      at::from_blob(const_cast<int32_t*>(batch.tokens.data()), {batch.rows, batch.columns},
                    at::TensorOptions().dtype(at::kInt))
          .to(at::TensorOptions().dtype(at::kLong).device(device));
  const int64_t length = batch.columns - 1;
  return {tokens.narrow(1, 0, length), tokens.narrow(1, 1, length)};
}

absl::StatusOr<HeldOutLoss> MeasureHeldOut(BatchSource& source, const Transformer& model,
                                           const ForwardOptions& options) {
  const c10::NoGradGuard no_grad;
  const std::vector<Role> roles = source.roles();
  std::vector<double> role_sum(roles.size()), role_count(roles.size());
  HeldOutLoss result;
  double sum = 0;
  for (int64_t index = 0; index < source.validation_batches(); ++index) {
    ATTNLAB_ASSIGN_OR_RETURN(const TokenBatch batch, source.Validation(index));
    const DeviceBatch tokens = ToDevice(batch, model.device());
    const at::Tensor losses = model.TokenLoss(tokens.inputs, tokens.targets, options)
                                  .to(at::kCPU, at::kDouble)
                                  .contiguous();
    const double* loss = losses.const_data_ptr<double>();
    for (int64_t i = 0; i < losses.numel(); ++i) {
      sum += loss[i];
      if (batch.roles.empty()) continue;
      role_sum[batch.roles[i]] += loss[i];
      role_count[batch.roles[i]] += 1;
    }
    result.tokens += losses.numel();
    result.sequences += batch.rows;
  }
  if (result.tokens == 0) {
    return absl::FailedPreconditionError(
        "there is no held-out data; set data.validation or data.validation_sequences");
  }
  result.loss = sum / static_cast<double>(result.tokens);
  for (size_t i = 0; i < roles.size(); ++i) {
    if (role_count[i] > 0) result.role_losses[roles[i].name] = role_sum[i] / role_count[i];
  }
  return result;
}

void RecordHeldOut(const HeldOutLoss& held_out, const BatchSource& source, ResultsWriter& results) {
  const auto metric = [&](double value, const char* label, const char* unit,
                          const char* definition) {
    return Metric{.value = value,
                  .label = label,
                  .unit = unit,
                  .better = "lower",
                  .definition = definition,
                  .sequences = held_out.sequences};
  };
  results.Write(names::kFinalLoss, metric(held_out.loss, "held-out loss", "nats",
                                          "mean -log p of the held-out tokens"));
  if (const double bytes = source.validation_bytes_per_token(); bytes > 0) {
    results.Write(names::kPerplexity, metric(std::exp(held_out.loss), "held-out perplexity", "",
                                             "exp of the held-out loss, a token of the tokenizer"));
    results.Write(names::kBitsPerByte,
                  metric(held_out.loss / std::numbers::ln2 / bytes, "bits per byte", "bits",
                         "held-out loss in bits over the bytes of text a token stands for"));
  }
  for (const auto& [role, loss] : held_out.role_losses) {
    results.Write(absl::StrCat(role, "_loss"),
                  metric(loss, absl::StrCat("held-out loss, ", role).c_str(), "nats",
                         "mean -log p over the positions of this kind"));
  }
}

absl::Status MeasureAttention(BatchSource& source, const Transformer& model,
                              const ForwardOptions& options, const AnalysisConfig& config,
                              int64_t step, bool final, ResultsWriter& results) {
  AnalysisOptions analysis;
  analysis.map_sequences = final ? 1 : 0;
  analysis.map_length = config.map_length;
  ATTNLAB_ASSIGN_OR_RETURN(
      const AnalysisReport report,
      Analyze(source, model, config.sequences, config.sequence_length, analysis, options));
  for (const auto& [name, metric] : AnalysisMetrics(report)) {
    if (!std::isfinite(metric.value)) continue;
    results.Declare("analysis/" + name,
                    {.unit = metric.unit, .reduction = "mean", .better = metric.better});
    results.Append("analysis/" + name, step, metric.value);
  }
  if (final) WriteAnalysis(report, results);
  return absl::OkStatus();
}

absl::Status SaveRunModel(const Transformer& model, const BatchSource& source,
                          const std::string& folder) {
  ATTNLAB_RETURN_IF_ERROR(SaveModel(model, folder));
  if (source.tokenizer_path().empty()) return absl::OkStatus();
  ATTNLAB_ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer,
                           LoadTokenizer(source.tokenizer_path()));
  return SaveTokenizer(*tokenizer, folder);
}

}  // namespace attnlab
