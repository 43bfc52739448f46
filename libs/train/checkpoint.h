// Checkpoints of a training run: what it needs to continue bit for bit.
//
//   RUN/checkpoints/step-00001500/   config.json, model.safetensors   the model (Hugging Face)
//                                    optim.safetensors                AdamW's moments
//                                    state.json                       step, seed, data fingerprint
// A checkpoint is written as a folder ending in .tmp, synced and renamed; one that is not whole is
// never taken for one. Batches depend on (seed, step) alone, so the step is the data's cursor.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/model/transformer.h"
#include "libs/optim/optimizer.h"

namespace attnlab {

struct TrainState {
  int64_t step = 0;  // optimizer steps done
  int64_t seed = 0;
  int64_t skipped = 0;           // of them, left out for a gradient that was not finite
  std::string data_fingerprint;  // of the tokenizer; empty for synthetic tasks
};

// Writes the checkpoint of `state.step` below the run folder `run`, then deletes all but the newest
// `keep`. A whole checkpoint of that step, which the run resumed from or has just written, stays.
absl::Status SaveCheckpoint(const std::string& run, const TrainState& state,
                            const Transformer& model, const AdamW& optimizer, int64_t keep);

// The folder of the newest whole checkpoint of `run`, nothing when there is none.
std::optional<std::string> NewestCheckpoint(const std::string& run);

// Deletes all checkpoints of a run that needs them no longer.
void RemoveCheckpoints(const std::string& run);

absl::StatusOr<TrainState> LoadTrainState(const std::string& checkpoint);

// Copies the weights and moments of `checkpoint` into `model` and `optimizer`. An error names the
// file and what is wrong in it.
absl::Status LoadCheckpoint(const std::string& checkpoint, Transformer& model, AdamW& optimizer);

}  // namespace attnlab
