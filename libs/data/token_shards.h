// Tokenised text on disk: a folder with index.json, shards of token ids that are mapped into
// memory, and the document boundaries.
//
//   index.json       format, version, dtype, vocab size, BOS, EOS, tokenizer folder and
//                    fingerprint; of each shard its file, tokens, bytes of text and SHA-256
//   shard-00000.bin  32 bytes: magic "ATTNTOK1", uint32 version, uint32 bytes per token (2 or 4),
//                    uint64 tokens, uint64 zero; then the ids, little-endian
//   documents.bin    32 bytes: magic "ATTNDOC1", uint32 version, uint32 8, uint64 documents,
//                    uint64 zero; then the index of the first token of each document, uint64
//
// All are read as hostile: sizes, counts and ids are compared with one another.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "libs/core/files.h"
#include "libs/io/results.h"

namespace attnlab {

class JsonRef;

struct TokenShardsInfo {
  int32_t vocab_size = 0;
  int32_t bos_id = -1, eos_id = -1;
  std::string tokenizer_path;         // relative to the folder of index.json
  std::string tokenizer_fingerprint;  // Tokenizer::fingerprint()
};

// Writes the folder `directory`, which must not exist; Finish makes it complete.
class TokenShardWriter {
 public:
  static absl::StatusOr<std::unique_ptr<TokenShardWriter>> Create(const std::string& directory,
                                                                  const TokenShardsInfo& info,
                                                                  int64_t shard_tokens);
  ~TokenShardWriter();

  // A document: its ids (with BOS or EOS where wanted) and the bytes of its text.
  absl::Status AddDocument(absl::Span<const int32_t> ids, int64_t text_bytes);
  absl::Status Finish();

  int64_t tokens() const { return tokens_; }
  int64_t text_bytes() const { return text_bytes_; }
  int64_t documents() const { return static_cast<int64_t>(documents_.size()); }

 private:
  struct Shard {
    std::string file, sha256;
    int64_t tokens = 0, text_bytes = 0;
  };
  TokenShardWriter(std::string directory, TokenShardsInfo info, int64_t shard_tokens);
  absl::Status FlushShard();

  const std::string directory_;
  const TokenShardsInfo info_;
  const int64_t shard_tokens_;
  const int token_bytes_;
  int64_t tokens_ = 0, text_bytes_ = 0;
  std::string buffer_;  // the ids of the shard that is being filled
  int64_t buffer_text_bytes_ = 0;
  std::vector<Shard> shards_;
  std::vector<uint64_t> documents_;
};

class TokenShards {
 public:
  // `verify` compares the SHA-256 of every shard (about a second a gigabyte).
  static absl::StatusOr<std::unique_ptr<TokenShards>> Open(const std::string& directory,
                                                           bool verify = true);

  const TokenShardsInfo& info() const { return info_; }
  const std::string& directory() const { return directory_; }
  int64_t tokens() const { return tokens_; }
  int64_t text_bytes() const { return text_bytes_; }

  // Path, SHA-256 (as index.json has it) and size of each shard.
  std::vector<InputFile> files() const;

  // Tokens [first, first + count) into out [count]; DataLoss when an id is not in the vocabulary.
  absl::Status Read(int64_t first, int64_t count, int32_t* out) const;

  // The index of the first token of each document, ascending from 0.
  absl::StatusOr<std::vector<int64_t>> Documents() const;

 private:
  struct Shard {
    int64_t first = 0, tokens = 0;
    std::string sha256;
    std::unique_ptr<MappedFile> file;
  };
  TokenShards() = default;
  absl::Status OpenShard(const JsonRef& entry, bool verify);

  std::string directory_;
  TokenShardsInfo info_;
  int token_bytes_ = 2;
  int64_t tokens_ = 0, text_bytes_ = 0, documents_ = 0;
  std::vector<Shard> shards_;
};

}  // namespace attnlab
