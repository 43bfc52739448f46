// From text files to token shards: the work of the program `prepare`.
//
//   OUT/prepare.json   the options, the inputs with their SHA-256, the counts
//   OUT/tokenizer/     the files of the tokenizer (trained here when none is given)
//   OUT/train/         token shards (token_shards.h), documents in an order drawn from the seed
//   OUT/validation/    the same, of the held-out documents
//
// One pass reads, decompresses and tokenises with bounded memory (a second pass before it, when a
// vocabulary is trained); the ids wait in a file until the order of the documents is drawn.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace attnlab {

struct PrepareOptions {
  std::vector<std::string> inputs;
  std::vector<std::string> validation;
  double validation_share = 0.01;
  std::string out;
  std::string tokenizer;
  int64_t vocab_size = 16384;
  int64_t vocab_sample_mb = 32;
  std::string field = "text";
  std::string invalid_utf8 = "error";
  bool bos = false;
  bool no_eos = false;
  int64_t seed = 0;
  int64_t shard_tokens = int64_t{1} << 26;
  int64_t threads = 0;

  // What a command line may set besides `inputs` and `out`.
  template <class Visitor>
  void ForEach(Visitor&& visit) {
    visit("validation", validation, "held-out files or folders; else a share of the documents is");
    visit("validation_share", validation_share, "share of the documents that is held out");
    visit("tokenizer", tokenizer,
          "tokenizer.json, vocab.json, SentencePiece .model, a folder with one, or `bytes`; "
          "empty: a SentencePiece BPE vocabulary is trained");
    visit("vocab_size", vocab_size, "tokens of the vocabulary that is trained");
    visit("vocab_sample_mb", vocab_sample_mb, "megabytes of text that it is trained on");
    visit("field", field, "the field of .jsonl lines that holds the text");
    visit("invalid_utf8", invalid_utf8, "`error`, or `replace` what is invalid by U+FFFD");
    visit("bos", bos, "begin each document with BOS");
    visit("no_eos", no_eos, "do not end each document with EOS");
    visit("seed", seed, "order of the documents, what is held out, sample for the vocabulary");
    visit("shard_tokens", shard_tokens, "tokens of a shard");
    visit("threads", threads, "tokenising threads; 0: one a core");
  }
};

struct PrepareReport {
  struct Split {
    int64_t documents = 0, tokens = 0, text_bytes = 0;
  };
  Split train, validation;
  int32_t vocab_size = 0;
  double seconds = 0;
  double train_vocabulary_seconds = 0;
};

// Writes OUT.tmp and renames it. AlreadyExists when OUT is there; errors of the inputs name the
// file and the line.
absl::StatusOr<PrepareReport> Prepare(const PrepareOptions& options);

}  // namespace attnlab
