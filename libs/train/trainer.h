// Training as a recipe says it: batches, loss, clipped AdamW steps, validation, analysis,
// checkpoints, and the record of it all in results.h5.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "libs/train/config.h"

namespace attnlab {

struct TrainOptions {
  std::string out;  // the run folder
  bool resume = false;
  std::vector<std::string> command_line;  // for the record
};

// Trains the run of `config` in `options.out`. With `resume` an unfinished run continues from its
// newest checkpoint bit for bit, and a finished one is left as it is. Cancelled after SIGTERM or
// SIGINT, when a checkpoint has been saved. A run that fails keeps its checkpoints and its record.
absl::Status Train(const RunConfig& config, const TrainOptions& options);

}  // namespace attnlab
