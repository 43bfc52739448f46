// One model compressed with one method: what `quantize` and `prune` do, and a cell of their sweeps.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "apps/subject.h"
#include "libs/compress/calibration.h"
#include "libs/compress/compress.h"
#include "libs/compress/method.h"
#include "libs/io/results.h"

namespace attnlab {

struct CompressJob {
  std::string method, settings;  // as they were given: "gptq", "bits=4 group_size=128"
  std::shared_ptr<const Method> how;
  CalibrationOptions calibration;
  bool bfloat16 = false;         // matrix products of the passes over the calibration text
  bool measure_outputs = false;  // output errors even when the method needs no calibration text
};

struct CompressOutcome {
  CompressReport report;
  std::vector<InputFile> inputs;  // the calibration text
};

// The calibration text of `job` for the model of `subject`; by itself the text of the model's run.
absl::StatusOr<Calibration> CalibrationText(const CompressJob& job, const Subject& subject);

// Compresses the model of `subject` in place.
absl::StatusOr<CompressOutcome> Compress(const CompressJob& job, Subject& subject);

// Bytes of all weights as a file holds them; those that are numbers in `dtype`.
int64_t WeightBytes(const Transformer& model, at::ScalarType dtype);

// Writes the run folder OUT: model/ with its tokenizer, the recipe that the model was trained by,
// results.h5. It comes into being whole: until then it is OUT.tmp. AlreadyExists when OUT is there.
absl::Status SaveCompressed(const CompressJob& job, const Subject& subject,
                            const CompressOutcome& outcome, const std::string& out,
                            const std::string& kind, const std::vector<std::string>& command_line);

}  // namespace attnlab
