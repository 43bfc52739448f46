// What training measures on held-out batches: losses by role, attention and activations.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/data/batch_source.h"
#include "libs/eval/held_out.h"
#include "libs/io/results.h"
#include "libs/model/transformer.h"
#include "libs/train/config.h"

namespace attnlab {

struct DeviceBatch {
  at::Tensor inputs, targets;  // [B, T] int64
};
DeviceBatch ToDevice(const TokenBatch& batch, at::Device device);

// Writes loss, perplexity and, for text, bits per byte as metrics of the run.
void RecordHeldOut(const HeldOutScore& score, ResultsWriter& results);

// Runs the analysis of libs/analysis over held-out sequences. Its headline figures go into series
// at `step`; the `final` one also writes metrics, tables by head and layer, and maps.
absl::Status MeasureAttention(BatchSource& source, const Transformer& model,
                              const ForwardOptions& options, const AnalysisConfig& config,
                              int64_t step, bool final, ResultsWriter& results);

// Writes the model folder that `eval` opens: config.json, model.safetensors and the tokenizer.
absl::Status SaveRunModel(const Transformer& model, const BatchSource& source,
                          const std::string& folder);

}  // namespace attnlab
