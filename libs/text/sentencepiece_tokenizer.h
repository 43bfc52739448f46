// SentencePiece models (Kudo, Richardson 2018, arXiv:1808.06226): the tokenizers of Llama and of
// vocabularies that `prepare` trains.
//
// libsentencepiece loads, decodes, trains, and encodes with any model; models of Llama's kind are
// encoded word by word (sentencepiece_words.h), but for text that itself holds a U+2581.
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
