#include "libs/compress/calibration.h"

#include <ATen/ops/empty.h>

#include <memory>

#include "absl/strings/str_cat.h"
#include "libs/core/status.h"

namespace attnlab {

absl::StatusOr<Calibration> DrawCalibration(const CalibrationOptions& options, DataOptions data,
                                            int64_t vocab_size) {
  if (options.sequences < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("calibration text of ", options.sequences, " sequences: must be at least 1"));
  }
  if (options.sequence_length < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("calibration text in sequences of ", options.sequence_length,
                     " tokens: must be at least 1, or 0 for as the model was trained"));
  }
  if (!options.source.empty()) data.source = options.source;
  if (options.sequence_length > 0) data.sequence_length = options.sequence_length;
  data.batch = 1;
  data.validation_sequences = 1;
  ATTNLAB_ASSIGN_OR_RETURN(const std::unique_ptr<BatchSource> source,
                           OpenBatchSource(data, static_cast<uint64_t>(options.seed)));
  if (source->vocab_size() > vocab_size) {
    return absl::InvalidArgumentError(
        absl::StrCat("the calibration text in ", data.source, " has ", source->vocab_size(),
                     " kinds of tokens, but the model knows ", vocab_size,
                     "; take a folder that was prepared with the model's tokenizer"));
  }
  const int64_t length = data.sequence_length, asked = options.sequences * length;
  if (source->tokens_per_epoch() > 0 && source->tokens_per_epoch() < asked) {
    return absl::InvalidArgumentError(
        absl::StrCat("the calibration text in ", data.source, " has ", source->tokens_per_epoch(),
                     " tokens, fewer than ", options.sequences, " sequences of ", length,
                     "; ask for fewer or shorter sequences, or give a longer text"));
  }
  Calibration calibration;
  calibration.inputs = source->inputs();
  calibration.tokens = at::empty({options.sequences, length}, at::kLong);
  int64_t* row = calibration.tokens.mutable_data_ptr<int64_t>();
  for (int64_t i = 0; i < options.sequences; ++i, row += length) {
    ATTNLAB_ASSIGN_OR_RETURN(const TokenBatch batch, source->Train(i));
    std::copy(batch.Row(0), batch.Row(0) + length, row);
  }
  return calibration;
}

}  // namespace attnlab
