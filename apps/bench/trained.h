// Queries, keys and values of a trained model, for timing on the scores that it makes.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "apps/bench/device_problem.h"
#include "apps/subject.h"

namespace attnlab {

struct TrainedOptions {
  std::string model;   // a model folder, or the folder of a finished run
  std::string text;    // a text file; empty: held-out data of the run, else drawn tokens
  int64_t batch = 0;   // sequences; 0: 16384 tokens in all
  int64_t tokens = 0;  // of a sequence; 0: the model's longest
};

// Attention of one layer: operands after RoPE, and what the model computes from them.
struct TrainedLayer {
  Inputs inputs;
  AttentionOptions options;
  std::vector<at::Tensor> learned;  // each [H], float32
};

// One element a layer, in `dtype`, from one pass of the model on `device`.
absl::StatusOr<std::vector<TrainedLayer>> TrainedLayers(const TrainedOptions& options,
                                                        at::Device device, at::ScalarType dtype);

// Token ids [count] in [0, vocab_size) without a text: falling in frequency as those of texts do
// (id = vocab_size u^3), the same in every run.
std::vector<int32_t> DrawnTokens(int64_t count, int64_t vocab_size);

}  // namespace attnlab
