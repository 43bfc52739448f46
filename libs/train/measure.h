// What training measures on held-out batches: losses by role, attention and activations.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/data/batch_source.h"
#include "libs/io/results.h"
#include "libs/model/transformer.h"
#include "libs/train/config.h"

namespace attnlab {

struct DeviceBatch {
  at::Tensor inputs, targets;  // [B, T] int64
};
DeviceBatch ToDevice(const TokenBatch& batch, at::Device device);

struct HeldOutLoss {
  double loss = 0;     // nats per token, over all held-out batches
  int64_t tokens = 0;  // that were predicted
  int64_t sequences = 0;
  std::map<std::string, double> role_losses;  // the same by role, where the source has roles
};
absl::StatusOr<HeldOutLoss> MeasureHeldOut(BatchSource& source, const Transformer& model,
                                           const ForwardOptions& options);

// Writes loss, perplexity and, for text, bits per byte as metrics of the run.
void RecordHeldOut(const HeldOutLoss& held_out, const BatchSource& source, ResultsWriter& results);

// Runs the analysis of libs/analysis over held-out sequences. Its headline figures go into series
// at `step`; the `final` one also writes metrics, tables by head and layer, and maps.
absl::Status MeasureAttention(BatchSource& source, const Transformer& model,
                              const ForwardOptions& options, const AnalysisConfig& config,
                              int64_t step, bool final, ResultsWriter& results);

// Writes the model folder that `eval` opens: config.json, model.safetensors and the tokenizer.
absl::Status SaveRunModel(const Transformer& model, const BatchSource& source,
                          const std::string& folder);

}  // namespace attnlab
