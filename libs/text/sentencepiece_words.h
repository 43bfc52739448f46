// Encodes with SentencePiece models of Llama's kind word by word: BPE with byte fallback that keeps
// all text and puts a space before it, no piece holding a newline, nor a space (U+2581) after
// another character. No merge crosses the end of a word then, so words are merged one at a time and
// remembered, and the ids are those of the library.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "libs/text/bpe.h"
#include "libs/text/sentencepiece_bridge.h"

namespace attnlab {

inline constexpr absl::string_view kPieceSpace = "\xE2\x96\x81";  // U+2581, a space in a piece

class SentencePieceWords {
 public:
  // Null when `model`, whose serialized form is `serialized`, is not of that kind.
  static std::unique_ptr<SentencePieceWords> Make(const SentencePieceModel& model,
                                                  const std::string& serialized);

  // Appends the ids of `text`: valid UTF-8 without U+2581.
  void Encode(absl::string_view text, std::vector<int32_t>& ids) const;

 private:
  bool Init(const SentencePieceModel& model);
  void AddMerges(const SentencePieceModel& model,
                 const absl::flat_hash_map<std::string, int32_t>& pieces);
  void AppendCharacters(absl::string_view text, std::vector<int32_t>& ids) const;
  void EncodeWord(absl::string_view word, BpeWorkspace& workspace, std::vector<int32_t>& ids) const;

  absl::flat_hash_map<std::string, int32_t> characters_;  // pieces of one character
  std::array<int32_t, 256> byte_ids_;
  MergeTable merges_;
  mutable BpeWorkspaces workspaces_;
};

}  // namespace attnlab
