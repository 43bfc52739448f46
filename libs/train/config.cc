#include "libs/train/config.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "libs/core/status.h"

namespace attnlab {
namespace {

absl::Status AtLeast(const char* name, int64_t value, int64_t least) {
  if (value >= least) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name, " is ", value, "; it must be at least ", least));
}

}  // namespace

absl::Status Validate(const RunConfig& config) {
  if (config.precision != "float32" && config.precision != "bfloat16") {
    return absl::InvalidArgumentError(
        absl::StrCat("precision is \"", config.precision, "\"; it must be float32 or bfloat16"));
  }
  ATTNLAB_RETURN_IF_ERROR(AtLeast("train.steps", config.train.steps, 1));
  ATTNLAB_RETURN_IF_ERROR(Validate(config.model));
  ATTNLAB_RETURN_IF_ERROR(Validate(config.optimizer));
  ATTNLAB_RETURN_IF_ERROR(Validate(config.schedule, config.train.steps));
  ATTNLAB_RETURN_IF_ERROR(AtLeast("threads", config.threads, 0));
  ATTNLAB_RETURN_IF_ERROR(AtLeast("data.sequence_length", config.data.sequence_length, 1));
  ATTNLAB_RETURN_IF_ERROR(AtLeast("data.batch", config.data.batch, 1));
  const LoopConfig& train = config.train;
  ATTNLAB_RETURN_IF_ERROR(AtLeast("train.micro_batch", train.micro_batch, 0));
  ATTNLAB_RETURN_IF_ERROR(AtLeast("train.log_every", train.log_every, 1));
  ATTNLAB_RETURN_IF_ERROR(AtLeast("train.validate_every", train.validate_every, 0));
  ATTNLAB_RETURN_IF_ERROR(AtLeast("train.checkpoint_every", train.checkpoint_every, 0));
  ATTNLAB_RETURN_IF_ERROR(AtLeast("train.keep_checkpoints", train.keep_checkpoints, 1));
  ATTNLAB_RETURN_IF_ERROR(AtLeast("analysis.every", config.analysis.every, 0));
  ATTNLAB_RETURN_IF_ERROR(AtLeast("analysis.sequences", config.analysis.sequences, 0));
  ATTNLAB_RETURN_IF_ERROR(AtLeast("analysis.sequence_length", config.analysis.sequence_length, 0));
  ATTNLAB_RETURN_IF_ERROR(AtLeast("analysis.map_length", config.analysis.map_length, 0));
  if (config.data.batch % std::max<int64_t>(train.micro_batch, 1) != 0) {
    return absl::InvalidArgumentError(absl::StrCat("train.micro_batch is ", train.micro_batch,
                                                   "; it must divide data.batch, ",
                                                   config.data.batch));
  }
  if (config.data.sequence_length > config.model.max_position_embeddings) {
    return absl::InvalidArgumentError(
        absl::StrCat("data.sequence_length is ", config.data.sequence_length,
                     "; it must not exceed model.max_position_embeddings, ",
                     config.model.max_position_embeddings));
  }
  return absl::OkStatus();
}

}  // namespace attnlab
