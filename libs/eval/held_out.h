// The loss of a model on held-out batches, split by role where the source tells roles apart
// (back-copy and bigram positions of the synthetic task).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/core/progress.h"
#include "libs/data/batch_source.h"
#include "libs/model/transformer.h"

namespace attnlab {

struct RoleScore {
  std::string name;
  double loss = 0;     // nats, mean over its positions
  double entropy = 0;  // nats, what a perfect model reaches
  int64_t tokens = 0;
};

struct HeldOutScore {
  double loss = 0;            // nats per token
  double standard_error = 0;  // of the loss, from the spread of the sequences' means
  int64_t tokens = 0, sequences = 0;
  double bits_per_byte = 0;      // 0 when the source is not text
  std::vector<RoleScore> roles;  // those that have positions
};

// Over the first `limit` held-out sequences of `source`; 0: all. The loss of a broken model is NaN.
// FailedPrecondition when there are no sequences.
absl::StatusOr<HeldOutScore> ScoreHeldOut(BatchSource& source, const Transformer& model,
                                          int64_t limit, const ForwardOptions& forward = {},
                                          Progress* progress = nullptr);

}  // namespace attnlab
