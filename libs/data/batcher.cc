#include "libs/data/batcher.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "libs/core/check.h"
#include "libs/core/rng.h"
#include "libs/core/status.h"

namespace attnlab {

Batcher::Batcher(const TokenShards& shards, int64_t sequence_length, bool bos_every_sequence,
                 uint64_t seed, int64_t windows)
    : shards_(&shards),
      sequence_length_(sequence_length),
      bos_every_sequence_(bos_every_sequence),
      seed_(seed),
      windows_(windows) {}

absl::StatusOr<Batcher> Batcher::Create(const TokenShards& shards, int64_t sequence_length,
                                        bool bos_every_sequence, uint64_t seed) {
  if (sequence_length < 1) return absl::InvalidArgumentError("sequence_length must be at least 1");
  if (bos_every_sequence && shards.info().bos_id < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("bos_every_sequence needs a BOS token, the vocabulary of ", shards.directory(),
                     " has none; set it to false or prepare the text with another tokenizer"));
  }
  const int64_t windows = (shards.tokens() - (bos_every_sequence ? 0 : 1)) / sequence_length;
  if (windows < 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        shards.directory(), " holds ", shards.tokens(), " tokens, less than one sequence of ",
        sequence_length, "; lower sequence_length or prepare more text"));
  }
  if (windows > std::numeric_limits<uint32_t>::max()) {
    return absl::InvalidArgumentError(
        absl::StrCat(shards.directory(), " holds ", windows,
                     " sequences, more than 2^32; raise sequence_length"));
  }
  return Batcher(shards, sequence_length, bos_every_sequence, seed, windows);
}

int64_t Batcher::ShuffledWindow(int64_t index) {
  const int64_t epoch = index / windows_;
  if (epoch != epoch_) {
    order_.resize(windows_);
    std::iota(order_.begin(), order_.end(), 0);
    Rng(seed_, "data.order", epoch).Shuffle(order_);
    epoch_ = epoch;
  }
  return order_[index % windows_];
}

absl::Status Batcher::Fill(int64_t window, int32_t* out) const {
  const int64_t first = window * sequence_length_;
  if (!bos_every_sequence_) return shards_->Read(first, sequence_length_ + 1, out);
  out[0] = shards_->info().bos_id;
  return shards_->Read(first, sequence_length_, out + 1);
}

absl::StatusOr<TokenBatch> Batcher::Shuffled(int64_t first, int64_t rows) {
  TokenBatch batch = Empty(rows);
  for (int64_t row = 0; row < rows; ++row)
    ATTNLAB_RETURN_IF_ERROR(Fill(ShuffledWindow(first + row), batch.Row(row)));
  return batch;
}

absl::StatusOr<TokenBatch> Batcher::Sequential(int64_t first, int64_t rows) const {
  ATTNLAB_CHECK(first >= 0 && first + rows <= windows_);
  TokenBatch batch = Empty(rows);
  for (int64_t row = 0; row < rows; ++row)
    ATTNLAB_RETURN_IF_ERROR(Fill(first + row, batch.Row(row)));
  return batch;
}

TokenBatch Batcher::Empty(int64_t rows) const {
  TokenBatch batch{rows, sequence_length_ + 1, {}, {}};
  batch.tokens.resize(batch.rows * batch.columns);
  return batch;
}

}  // namespace attnlab
