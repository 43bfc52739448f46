// Where a training run gets its batches: token shards of real text, or a synthetic task.
//
// A batch depends on (options, seed, step) alone, so a run resumed at any step sees what the run
// that was not interrupted sees, without replaying.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/data/bigram_backcopy.h"
#include "libs/io/results.h"

namespace attnlab {

// Sequences of T + 1 tokens: the inputs are columns [0, T), the targets columns [1, T + 1).
struct TokenBatch {
  int64_t rows = 0;
  int64_t columns = 0;          // T + 1
  std::vector<int32_t> tokens;  // [rows, columns]
  // [rows, columns - 1]: the role (an index into BatchSource::roles()) of the prediction made at
  // each input position; empty when the source tells no roles apart.
  std::vector<uint8_t> roles;

  int32_t* Row(int64_t row) { return tokens.data() + row * columns; }
  const int32_t* Row(int64_t row) const { return tokens.data() + row * columns; }
};

// One kind of prediction in a synthetic task.
struct Role {
  std::string name;    // "bigram", "backcopy"
  double entropy = 0;  // nats; the loss that a perfect model reaches there
};

class BatchSource {
 public:
  virtual ~BatchSource() = default;

  virtual int32_t vocab_size() const = 0;
  virtual int32_t bos_id() const = 0;  // -1: none
  virtual std::vector<Role> roles() const { return {}; }

  // The batch of optimizer step `step` >= 0: [batch, T + 1].
  virtual absl::StatusOr<TokenBatch> Train(int64_t step) = 0;

  // Held-out batches, index in [0, validation_batches()); each [batch, T + 1], the last may have
  // fewer rows.
  virtual int64_t validation_batches() const = 0;
  virtual absl::StatusOr<TokenBatch> Validation(int64_t index) = 0;

  // Bytes of text that a token of the held-out text stands for on average; 0 when not text.
  // Bits per byte = nats per token / ln 2 / bytes per token.
  virtual double validation_bytes_per_token() const { return 0; }

  // Tokens of one pass over the training text; 0 when endless.
  virtual int64_t tokens_per_epoch() const { return 0; }
  // The tokenizer's folder and fingerprint; empty for a synthetic task.
  virtual std::string tokenizer_path() const { return ""; }
  virtual std::string tokenizer_fingerprint() const { return ""; }

  // The files that batches come from, as their indexes list them; none for a synthetic task.
  virtual std::vector<InputFile> inputs() const { return {}; }
};

struct DataOptions {
  std::string source = "bigram_backcopy";
  std::string validation;
  int64_t sequence_length = 64;
  int64_t batch = 32;
  int64_t validation_sequences = 256;
  bool bos_every_sequence = false;
  bool verify = true;
  BigramBackcopyOptions bigram_backcopy;

  template <class Visitor>
  void ForEach(Visitor&& visit) {
    visit("source", source, "folder that `prepare` wrote, or a synthetic task: bigram_backcopy");
    visit("validation", validation,
          "folder with the held-out text; empty: what `prepare` held out in source");
    visit("sequence_length", sequence_length, "T, tokens that a sequence predicts");
    visit("batch", batch, "sequences per optimizer step");
    visit("validation_sequences", validation_sequences,
          "held-out sequences per validation; 0: all (synthetic tasks need a number)");
    visit("bos_every_sequence", bos_every_sequence,
          "begin every sequence with BOS instead of packing the text without gaps");
    visit("verify", verify, "compare the checksums of all token shards before training");
    visit("bigram_backcopy", bigram_backcopy, "the Bigram-Backcopy task");
  }
};

// Names of the synthetic tasks that DataOptions::source may hold.
std::vector<std::string> SyntheticTasks();

absl::StatusOr<std::unique_ptr<BatchSource>> OpenBatchSource(const DataOptions& options,
                                                             uint64_t seed);

}  // namespace attnlab
