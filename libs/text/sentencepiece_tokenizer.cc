#include "libs/text/sentencepiece_tokenizer.h"

#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "libs/core/status.h"
#include "libs/text/sentencepiece_bridge.h"
#include "libs/text/utf8.h"
#include "libs/text/word_cache.h"

namespace attnlab {
namespace {

constexpr absl::string_view kSpace = "\xE2\x96\x81";  // U+2581, how pieces spell a space

// Reads the few fields of sentencepiece_model.proto that decide whether words can be encoded one at
// a time. The library has checked the message; what does not parse here ends the reading.
class ProtoFields {
 public:
  explicit ProtoFields(absl::string_view message) : rest_(message) {}

  struct Field {
    uint64_t number = 0, value = 0;  // value: of varint fields
    absl::string_view bytes;         // of length-delimited fields
  };

  std::optional<Field> Next() {
    Field field;
    uint64_t key = 0;
    if (!Varint(key)) return std::nullopt;
    field.number = key >> 3;
    uint64_t length = 0;
    switch (key & 7) {
      case 0:
        if (!Varint(field.value)) return std::nullopt;
        return field;
      case 1:
        length = 8;
        break;
      case 2:
        if (!Varint(length)) return std::nullopt;
        break;
      case 5:
        length = 4;
        break;
      default:
        return std::nullopt;
    }
    if (length > rest_.size()) return std::nullopt;
    field.bytes = rest_.substr(0, length);
    rest_.remove_prefix(length);
    return field;
  }

 private:
  bool Varint(uint64_t& value) {
    value = 0;
    for (int shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
      const uint8_t byte = rest_[0];
      rest_.remove_prefix(1);
      value |= uint64_t{byte & 0x7Fu} << shift;
      if (byte < 0x80) return true;
    }
    return false;
  }

  absl::string_view rest_;
};

// The model is BPE, changes no character, adds a space in front, and keeps all others.
bool KeepsTextAndAddsSpace(absl::string_view model) {
  constexpr int kTrainerSpec = 2, kNormalizerSpec = 3;
  constexpr uint64_t kBpe = 2;
  uint64_t model_type = 1;
  bool whitespace_is_suffix = false, charsmap = false, dummy_prefix = true;
  bool remove_spaces = true, escape_spaces = true;
  ProtoFields fields(model);
  while (const auto field = fields.Next()) {
    ProtoFields inner(field->bytes);
    if (field->number == kTrainerSpec) {
      while (const auto f = inner.Next()) {
        if (f->number == 3) model_type = f->value;
        if (f->number == 24) whitespace_is_suffix = f->value != 0;
      }
    } else if (field->number == kNormalizerSpec) {
      while (const auto f = inner.Next()) {
        if (f->number == 2) charsmap = !f->bytes.empty();
        if (f->number == 3) dummy_prefix = f->value != 0;
        if (f->number == 4) remove_spaces = f->value != 0;
        if (f->number == 5) escape_spaces = f->value != 0;
      }
    }
  }
  return model_type == kBpe && !whitespace_is_suffix && !charsmap && dummy_prefix &&
         !remove_spaces && escape_spaces;
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
    by_word_ = KeepsTextAndAddsSpace(file.contents);
    lengths_.resize(model_.size());
    for (int32_t id = 0; id < model_.size(); ++id) {
      const std::string piece = model_.Piece(id);
      lengths_[id] = PieceBytes(piece, model_.Type(id));
      size_t at = 0;
      while (absl::StartsWith(absl::string_view(piece).substr(at), kSpace)) at += kSpace.size();
      if (absl::string_view(piece).find(kSpace, at) != absl::string_view::npos) by_word_ = false;
    }
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
    if (by_word_) {
      EncodeByWord(text, ids);
    } else {
      model_.Encode({text.data(), text.size()}, ids);
    }
  }

 private:
  using PieceType = SentencePieceModel::PieceType;

  static int32_t PieceBytes(const std::string& piece, PieceType type) {
    if (type == PieceType::kByte) return 1;
    if (type != PieceType::kNormal) return 0;
    int32_t bytes = static_cast<int32_t>(piece.size());
    for (size_t at = 0; (at = piece.find(kSpace.data(), at)) != std::string::npos; ++at)
      bytes -= static_cast<int32_t>(kSpace.size()) - 1;
    return bytes;
  }

  // A word is a run of spaces with what follows up to the next space. The library puts a space
  // before what it encodes, so it gets a word without its first one; the first word of the text
  // goes as it is.
  void EncodeByWord(absl::string_view text, std::vector<int32_t>& ids) const {
    WordCachePool::Loan cache(caches_);
    bool first = true;
    while (!text.empty()) {
      size_t end = text.find_first_not_of(' ');
      if (end != absl::string_view::npos) end = text.find(' ', end);
      // Spaces that end the text stay with the word before them.
      if (end == absl::string_view::npos || text.find_first_not_of(' ', end) == text.npos)
        end = text.size();
      EncodeWord(text.substr(first ? 0 : 1, end - (first ? 0 : 1)), *cache, ids);
      text.remove_prefix(end);
      first = false;
    }
  }

  void EncodeWord(absl::string_view word, WordCache& cache, std::vector<int32_t>& ids) const {
    if (cache.AppendIfKnown(word, ids)) return;
    const size_t before = ids.size();
    model_.Encode({word.data(), word.size()}, ids);
    cache.Remember(word, absl::MakeConstSpan(ids).subspan(before));
  }

  SentencePieceModel model_;
  bool by_word_ = false;
  std::vector<int32_t> lengths_;  // bytes of text by id
  mutable WordCachePool caches_;
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
