#include "libs/train/measure.h"

#include <ATen/ops/from_blob.h>

#include <cmath>
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

void RecordHeldOut(const HeldOutScore& score, ResultsWriter& results) {
  const auto write = [&](const std::string& name, double value, const std::string& label,
                         const char* unit, const char* definition) {
    results.Write(name, Metric{.value = value,
                               .label = label,
                               .unit = unit,
                               .better = "lower",
                               .definition = definition,
                               .sequences = score.sequences});
  };
  write(names::kFinalLoss, score.loss, "held-out loss", "nats",
        "mean -log p of the held-out tokens");
  if (score.bits_per_byte > 0) {
    write(names::kPerplexity, std::exp(score.loss), "held-out perplexity", "",
          "exp of the held-out loss, a token of the tokenizer");
    write(names::kBitsPerByte, score.bits_per_byte, "bits per byte", "bits",
          "held-out loss in bits over the bytes of text a token stands for");
  }
  for (const RoleScore& role : score.roles) {
    write(absl::StrCat(role.name, "_loss"), role.loss, absl::StrCat("held-out loss, ", role.name),
          "nats", "mean -log p over the positions of this kind");
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
