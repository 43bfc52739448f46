// Text to token ids and back: SentencePiece models, Hugging Face byte-level BPE, bytes.
//
// SentencePiece: Kudo, Richardson 2018 (arXiv:1808.06226). Byte-level BPE: Sennrich, Haddow, Birch
// 2016 (arXiv:1508.07909) over the 256 bytes as in GPT-2 (Radford et al. 2019).
// Invalid UTF-8: each maximal ill-formed part becomes U+FFFD before anything else happens (what a
// Hugging Face tokenizer sees after bytes.decode("utf-8", "replace")); only `bytes` keeps every
// byte.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace attnlab {

struct TokenizerFile {
  std::string name;  // "tokenizer.json", "tokenizer.model", "vocab.json" ...
  std::string contents;
};

// Safe to use from several threads at once.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // "sentencepiece", "byte-level-bpe" or "bytes".
  virtual std::string kind() const = 0;
  virtual int32_t vocab_size() const = 0;  // ids are in [0, vocab_size)
  virtual int32_t bos_id() const = 0;      // -1: none
  virtual int32_t eos_id() const = 0;      // -1: none

  // Appends the ids of `text` to `ids`; neither BOS nor EOS is added.
  virtual void Encode(absl::string_view text, std::vector<int32_t>& ids) const = 0;
  std::vector<int32_t> Encode(absl::string_view text) const;

  // The text of `ids`; special tokens and ids out of range stand for nothing.
  virtual std::string Decode(absl::Span<const int32_t> ids) const = 0;

  // Bytes of text that token `id` stands for; 0 for special tokens.
  virtual int32_t TokenBytes(int32_t id) const = 0;

  // The files that the tokenizer consists of; LoadTokenizer reads a folder that holds them.
  const std::vector<TokenizerFile>& files() const { return files_; }
  // SHA-256 over the names and contents of files(): equal for equal tokenizers.
  const std::string& fingerprint() const { return fingerprint_; }

 protected:
  explicit Tokenizer(std::vector<TokenizerFile> files);

 private:
  const std::vector<TokenizerFile> files_;
  const std::string fingerprint_;
};

// Loads "bytes" (256 bytes, BOS 256, EOS 257), a tokenizer.json, a SentencePiece .model, a
// vocab.json (with its merges.txt beside it), or a folder that holds one of these. A folder's
// tokenizer.model stands in for a tokenizer.json of a kind that is not known here.
absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizer(const std::string& path);

// The same from contents, e.g. a SentencePiece model that was just trained.
absl::StatusOr<std::unique_ptr<Tokenizer>> MakeTokenizer(std::vector<TokenizerFile> files);

// Writes files() into the folder `directory`, which is made when missing.
absl::Status SaveTokenizer(const Tokenizer& tokenizer, const std::string& directory);

}  // namespace attnlab
