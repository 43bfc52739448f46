#include "libs/text/sentencepiece_tokenizer.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <map>
#include <optional>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "libs/core/status.h"
#include "libs/text/bpe.h"
#include "libs/text/sentencepiece_bridge.h"
#include "libs/text/utf8.h"

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

// The model is BPE without user-defined or unused pieces, changes no character, adds a space in
// front, and keeps all others.
bool IsPlainBpe(absl::string_view model) {
  constexpr int kPiece = 1, kTrainerSpec = 2, kNormalizerSpec = 3;
  constexpr uint64_t kBpe = 2, kUserDefined = 4, kUnused = 5;
  uint64_t model_type = 1;
  bool whitespace_is_suffix = false, charsmap = false, dummy_prefix = true;
  bool remove_spaces = true, escape_spaces = true;
  ProtoFields fields(model);
  while (const auto field = fields.Next()) {
    ProtoFields inner(field->bytes);
    if (field->number == kPiece) {
      while (const auto f = inner.Next()) {
        if (f->number == 3 && (f->value == kUserDefined || f->value == kUnused)) return false;
      }
    } else if (field->number == kTrainerSpec) {
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

// Bytes of text that a piece stands for.
int32_t PieceBytes(absl::string_view piece, SentencePieceModel::PieceType type) {
  using PieceType = SentencePieceModel::PieceType;
  if (type == PieceType::kByte) return 1;
  if (type == PieceType::kUnknown || type == PieceType::kControl) return 0;
  return static_cast<int32_t>(absl::StrReplaceAll(piece, {{kSpace, " "}}).size());
}

// Spaces only at the start, no newline, valid UTF-8: no merge can cross the end of a word.
bool IsWord(absl::string_view piece) {
  if (!IsValidUtf8(piece) || absl::StrContains(piece, '\n')) return false;
  while (absl::ConsumePrefix(&piece, kSpace)) {
  }
  return !absl::StrContains(piece, kSpace);
}

// The merges of a BPE model whose words can be encoded apart (the head of the header says when).
class WordEncoder {
 public:
  // Nothing when `model` is not of that kind.
  static std::unique_ptr<WordEncoder> Make(const SentencePieceModel& model,
                                           const std::string& serialized) {
    if (!IsPlainBpe(serialized)) return nullptr;
    auto encoder = std::unique_ptr<WordEncoder>(new WordEncoder);
    return encoder->Init(model) ? std::move(encoder) : nullptr;
  }

  // `text` is valid UTF-8 without U+2581.
  void Encode(absl::string_view text, std::vector<int32_t>& ids) const {
    if (text.empty()) return;
    BpeWorkspaces::Loan workspace(workspaces_);
    size_t end = WordEnd(text);
    EncodeWord(absl::StrCat(" ", text.substr(0, end)), *workspace, ids);
    for (text.remove_prefix(end); !text.empty(); text.remove_prefix(end)) {
      end = WordEnd(text);
      EncodeWord(text.substr(0, end), *workspace, ids);
    }
  }

 private:
  using PieceType = SentencePieceModel::PieceType;

  bool Init(const SentencePieceModel& model);

  // The end of the word that `text` begins with: a run of newlines, or spaces with what follows up
  // to the next space or newline.
  static size_t WordEnd(absl::string_view text) {
    const size_t end = text[0] == '\n' ? text.find_first_not_of('\n')
                                       : text.find_first_of(" \n", text.find_first_not_of(' '));
    return std::min(end, text.size());
  }

  // Appends the ids of the characters of `text`, or of their bytes where they are no pieces.
  void AppendCharacters(absl::string_view text, std::vector<int32_t>& ids) const {
    while (!text.empty()) {
      const int length = DecodeUtf8(text).length;
      const absl::string_view character = text[0] == ' ' ? kSpace : text.substr(0, length);
      const auto it = characters_.find(character);
      if (it != characters_.end()) {
        ids.push_back(it->second);
      } else {
        for (const char c : character) ids.push_back(byte_ids_[static_cast<uint8_t>(c)]);
      }
      text.remove_prefix(length);
    }
  }

  void EncodeWord(absl::string_view word, BpeWorkspace& workspace,
                  std::vector<int32_t>& ids) const {
    if (workspace.cache.AppendIfKnown(word, ids)) return;
    workspace.word.clear();
    AppendCharacters(word, workspace.word);
    workspace.merger.Run(merges_, workspace.word);
    workspace.cache.Remember(word, workspace.word);
    ids.insert(ids.end(), workspace.word.begin(), workspace.word.end());
  }

  absl::flat_hash_map<std::string, int32_t> characters_;  // pieces of one character
  std::array<int32_t, 256> byte_ids_;
  MergeTable merges_;
  mutable BpeWorkspaces workspaces_;
};

bool WordEncoder::Init(const SentencePieceModel& model) {
  absl::flat_hash_map<std::string, int32_t> pieces;
  std::map<float, int32_t, std::greater<float>> ranks;  // by score, the best first
  byte_ids_.fill(-1);
  int bytes = 0;
  for (int32_t id = 0; id < model.size(); ++id) {
    const std::string piece = model.Piece(id);
    switch (model.Type(id)) {
      case PieceType::kByte:  // "<0x0A>"
        byte_ids_[std::strtoul(piece.c_str() + 1, nullptr, 16) & 0xFF] = id;
        ++bytes;
        break;
      case PieceType::kNormal:
        pieces.emplace(piece, id);
        ranks.emplace(model.Score(id), 0);
        break;
      case PieceType::kUnknown:
      case PieceType::kControl:
        break;
    }
  }
  if (bytes != 256) return false;
  int32_t rank = 0;
  for (auto& [score, value] : ranks) value = rank++;
  for (const auto& [text, id] : pieces) {
    if (!IsWord(text)) return false;
    const MergeTable::Merge merge = {ranks[model.Score(id)], id};
    const absl::string_view piece = text;
    size_t cut = DecodeUtf8(piece).length;
    if (cut == piece.size()) characters_.emplace(piece, id);
    for (; cut < piece.size(); cut += DecodeUtf8(piece.substr(cut)).length) {
      const auto left = pieces.find(piece.substr(0, cut)), right = pieces.find(piece.substr(cut));
      if (left != pieces.end() && right != pieces.end())
        merges_.Set(left->second, right->second, merge);
    }
  }
  return true;
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
    words_ = WordEncoder::Make(model_, file.contents);
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
    if (words_ != nullptr && !absl::StrContains(text, kSpace)) {
      words_->Encode(text, ids);
    } else {
      model_.Encode({text.data(), text.size()}, ids);
    }
  }

 private:
  SentencePieceModel model_;
  std::unique_ptr<WordEncoder> words_;  // null: the library encodes
  std::vector<int32_t> lengths_;        // bytes of text by id
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
