// SentencePiece models (Kudo, Richardson 2018, arXiv:1808.06226): the tokenizers of Llama and of
// vocabularies that `prepare` trains.
//
// The library does the segmentation. For BPE models in which no piece holds a space (U+2581) after
// another character, no merge crosses a word boundary, so words are encoded one at a time and
// remembered; other models go through the library whole.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/text/tokenizer.h"

namespace attnlab {

// `files` holds one SentencePiece model.
absl::StatusOr<std::unique_ptr<Tokenizer>> MakeSentencePiece(std::vector<TokenizerFile> files);

// Trains a BPE vocabulary of `vocab_size` pieces with byte fallback, BOS 1 and EOS 2 (Llama's
// layout) on the texts that `next` gives until it returns false. The same texts give the same
// model. Returns the serialized model.
absl::StatusOr<std::string> TrainSentencePiece(int32_t vocab_size,
                                               const std::function<bool(std::string&)>& next);

}  // namespace attnlab
