// Cuts tokenised text into sequences of T + 1 tokens and orders them: f(seed, step) only.
//
// packed:              window i is tokens [i T, i T + T + 1), so each token is predicted once
// bos_every_sequence:  window i is BOS, then tokens [i T, i T + T)
// Each epoch visits every window once, in an order drawn from (seed, epoch).
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/data/batch_source.h"
#include "libs/data/token_shards.h"

namespace attnlab {

class Batcher {
 public:
  // `shards` must outlive the batcher. Errors: less text than one window, no BOS in the vocabulary.
  static absl::StatusOr<Batcher> Create(const TokenShards& shards, int64_t sequence_length,
                                        bool bos_every_sequence, uint64_t seed);

  int64_t windows() const { return windows_; }

  // Rows [first, first + rows) of the endless shuffled sequence of windows.
  absl::StatusOr<TokenBatch> Shuffled(int64_t first, int64_t rows);
  // Windows [first, first + rows) in the order of the text.
  absl::StatusOr<TokenBatch> Sequential(int64_t first, int64_t rows) const;

 private:
  Batcher(const TokenShards& shards, int64_t sequence_length, bool bos_every_sequence,
          uint64_t seed, int64_t windows);
  int64_t ShuffledWindow(int64_t index);
  TokenBatch Empty(int64_t rows) const;
  absl::Status Fill(int64_t window, int32_t* out) const;

  const TokenShards* shards_;
  int64_t sequence_length_;
  bool bos_every_sequence_;
  uint64_t seed_;
  int64_t windows_;
  int64_t epoch_ = -1;           // the epoch that order_ belongs to
  std::vector<uint32_t> order_;  // [windows]
};

}  // namespace attnlab
