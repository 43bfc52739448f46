// The text that a compression method looks at: sequences of a prepared corpus, drawn by a seed.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/data/batch_source.h"
#include "libs/io/results.h"

namespace attnlab {

struct CalibrationOptions {
  std::string source;
  int64_t sequences = 128;
  int64_t sequence_length = 0;
  int64_t seed = 0;

  template <class Visitor>
  void ForEach(Visitor&& visit) {
    ForEachOfText(visit);
    visit("seed", seed, "which sequences: the draw");
  }
  // Without the draw.
  template <class Visitor>
  void ForEachOfText(Visitor&& visit) {
    visit("source", source,
          "folder that `prepare` wrote; empty: the training text of the model's run");
    visit("sequences", sequences, "how many sequences are looked at");
    visit("sequence_length", sequence_length, "their tokens; 0 = as the model was trained");
  }
};

struct Calibration {
  at::Tensor tokens;  // [sequences, T] int64
  std::vector<InputFile> inputs;
};

// Training sequences of `data`, whose source, length and seed `options` may replace.
// InvalidArgument when the corpus is shorter than what is asked for, or has tokens that a model of
// `vocab_size` does not know.
absl::StatusOr<Calibration> DrawCalibration(const CalibrationOptions& options, DataOptions data,
                                            int64_t vocab_size);

}  // namespace attnlab
