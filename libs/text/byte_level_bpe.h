// Byte-level BPE as Hugging Face stores it: tokenizer.json, or vocab.json with merges.txt.
//
// Text is split into words by a pattern; a word starts as its bytes, and the adjacent pair with the
// lowest merge rank (the leftmost of equals) becomes one symbol until no pair has a rank.
// Vocabularies spell bytes in an alphabet of 256 printable characters (GPT-2).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/text/tokenizer.h"

namespace attnlab {

struct AddedToken {
  std::string content;
  int32_t id = -1;
  bool special = false;     // stands for no text
  bool normalized = false;  // matched after normalization, not before
};

// A vocabulary, with bytes spelled in GPT-2's alphabet.
struct BpeVocabulary {
  std::vector<std::pair<std::string, int32_t>> tokens;
  std::vector<std::pair<std::string, std::string>> merges;  // by rank
  std::vector<AddedToken> added;
  std::vector<std::string> split_patterns;  // applied one within the other; "" is GPT-2's
  bool nfc = false;                         // normalize to form C
  bool add_prefix_space = false;            // a space before text that begins with none
  bool ignore_merges = false;               // a word that is a token stays whole
};

// InvalidArgument when the vocabulary lacks a byte that UTF-8 needs, a merge names a token that is
// not there, ids repeat or are out of range, or a pattern does not compile.
absl::StatusOr<std::unique_ptr<Tokenizer>> MakeByteLevelBpe(const BpeVocabulary& vocabulary,
                                                            std::vector<TokenizerFile> files);

// The readers of the two file formats. What attnlab cannot reproduce (another model type,
// normalizer, pre-tokenizer) is an error that names it.
absl::StatusOr<BpeVocabulary> ParseTokenizerJson(const std::string& contents);
absl::StatusOr<BpeVocabulary> ParseVocabAndMerges(const std::string& vocab_json,
                                                  const std::string& merges_txt);

}  // namespace attnlab
