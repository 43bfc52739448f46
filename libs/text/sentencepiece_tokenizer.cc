#include "libs/text/sentencepiece_tokenizer.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "libs/core/status.h"
#include "libs/text/sentencepiece_bridge.h"
#include "libs/text/sentencepiece_words.h"
#include "libs/text/utf8.h"

namespace attnlab {
namespace {

// Bytes of text that a piece stands for.
int32_t PieceBytes(absl::string_view piece, SentencePieceModel::PieceType type) {
  using PieceType = SentencePieceModel::PieceType;
  if (type == PieceType::kByte) return 1;
  if (type == PieceType::kUnknown || type == PieceType::kControl) return 0;
  return static_cast<int32_t>(absl::StrReplaceAll(piece, {{kPieceSpace, " "}}).size());
}

class SentencePieceTokenizer : public Tokenizer {
 public:
  explicit SentencePieceTokenizer(std::vector<TokenizerFile> files) : Tokenizer(std::move(files)) {}

  absl::Status Init() {
    const TokenizerFile& file = files()[0];
    if (const std::string error = model_.Load(file.contents); !error.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat(file.name, " is no SentencePiece model (", error, ")"));
    }
    words_ = SentencePieceWords::Make(model_, file.contents);
    for (int32_t id = 0; id < model_.size(); ++id)
      lengths_.push_back(PieceBytes(model_.Piece(id), model_.Type(id)));
    return absl::OkStatus();
  }

  std::string kind() const override { return "sentencepiece"; }
  int32_t vocab_size() const override { return model_.size(); }
  int32_t bos_id() const override { return model_.bos_id(); }
  int32_t eos_id() const override { return model_.eos_id(); }
  int32_t TokenBytes(int32_t id) const override {
    return id >= 0 && id < vocab_size() ? lengths_[id] : 0;
  }

  std::string Decode(absl::Span<const int32_t> ids) const override {
    std::vector<int32_t> known;
    for (const int32_t id : ids) {
      if (id >= 0 && id < vocab_size()) known.push_back(id);
    }
    return model_.Decode(known);
  }

  using Tokenizer::Encode;
  void Encode(absl::string_view text, std::vector<int32_t>& ids) const override {
    std::string valid;
    text = ReplaceInvalidUtf8(text, valid);
    if (words_ != nullptr && !absl::StrContains(text, kPieceSpace)) {
      words_->Encode(text, ids);
    } else {
      model_.Encode({text.data(), text.size()}, ids);
    }
  }

 private:
  SentencePieceModel model_;
  std::unique_ptr<SentencePieceWords> words_;  // null: the library encodes
  std::vector<int32_t> lengths_;               // bytes of text by id
};

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeSentencePiece(std::vector<TokenizerFile> files) {
  auto tokenizer = std::make_unique<SentencePieceTokenizer>(std::move(files));
  ATTNLAB_RETURN_IF_ERROR(tokenizer->Init());
  return tokenizer;
}

absl::StatusOr<std::string> TrainSentencePiece(int32_t vocab_size,
                                               const std::function<bool(std::string&)>& next) {
  std::string model;
  const std::string error = TrainSentencePieceModel({{"model_type", "bpe"},
                                                     {"vocab_size", absl::StrCat(vocab_size)},
                                                     {"byte_fallback", "true"},
                                                     {"character_coverage", "0.9999"},
                                                     {"split_digits", "true"},
                                                     {"normalization_rule_name", "identity"},
                                                     {"remove_extra_whitespaces", "false"},
                                                     {"allow_whitespace_only_pieces", "true"},
                                                     {"max_sentence_length", "1000000"},
                                                     {"num_threads", "1"},
                                                     {"minloglevel", "1"}},
                                                    next, model);
  if (!error.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("cannot train a vocabulary of ", vocab_size,
                                                   " tokens (", error,
                                                   "); give another size or more text"));
  }
  return model;
}

}  // namespace attnlab
