#include "libs/text/sentencepiece_words.h"

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <map>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "libs/text/utf8.h"

namespace attnlab {
namespace {

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

// Spaces only at the start, no newline, valid UTF-8: no merge can cross the end of a word.
bool IsWord(absl::string_view piece) {
  if (!IsValidUtf8(piece) || absl::StrContains(piece, '\n')) return false;
  while (absl::ConsumePrefix(&piece, kPieceSpace)) {
  }
  return !absl::StrContains(piece, kPieceSpace);
}

// The end of the word that `text` begins with: a run of newlines, or spaces with what follows up to
// the next space or newline.
size_t WordEnd(absl::string_view text) {
  const size_t end = text[0] == '\n' ? text.find_first_not_of('\n')
                                     : text.find_first_of(" \n", text.find_first_not_of(' '));
  return std::min(end, text.size());
}

}  // namespace

std::unique_ptr<SentencePieceWords> SentencePieceWords::Make(const SentencePieceModel& model,
                                                             const std::string& serialized) {
  if (!IsPlainBpe(serialized)) return nullptr;
  auto words = std::unique_ptr<SentencePieceWords>(new SentencePieceWords);
  return words->Init(model) ? std::move(words) : nullptr;
}

bool SentencePieceWords::Init(const SentencePieceModel& model) {
  using PieceType = SentencePieceModel::PieceType;
  absl::flat_hash_map<std::string, int32_t> pieces;
  byte_ids_.fill(-1);
  int bytes = 0;
  for (int32_t id = 0; id < model.size(); ++id) {
    const std::string piece = model.Piece(id);
    const PieceType type = model.Type(id);
    if (type == PieceType::kByte) {  // "<0x0A>"
      byte_ids_[std::strtoul(piece.c_str() + 1, nullptr, 16) & 0xFF] = id;
      ++bytes;
    } else if (type == PieceType::kNormal) {
      if (!IsWord(piece)) return false;
      pieces.emplace(piece, id);
    }
  }
  if (bytes != 256 || std::count(byte_ids_.begin(), byte_ids_.end(), -1) > 0) return false;
  AddMerges(model, pieces);
  return true;
}

// Two pieces merge when they join to a piece, the one with the best score first.
void SentencePieceWords::AddMerges(const SentencePieceModel& model,
                                   const absl::flat_hash_map<std::string, int32_t>& pieces) {
  std::map<float, int32_t, std::greater<float>> ranks;
  for (const auto& [piece, id] : pieces) ranks.emplace(model.Score(id), 0);
  int32_t next_rank = 0;
  for (auto& [score, rank] : ranks) rank = next_rank++;
  for (const auto& [text, id] : pieces) {
    const absl::string_view piece = text;
    const MergeTable::Merge merge = {ranks[model.Score(id)], id};
    size_t cut = DecodeUtf8(piece).length;
    if (cut == piece.size()) characters_.emplace(piece, id);
    for (; cut < piece.size(); cut += DecodeUtf8(piece.substr(cut)).length) {
      const auto left = pieces.find(piece.substr(0, cut)), right = pieces.find(piece.substr(cut));
      if (left != pieces.end() && right != pieces.end())
        merges_.Set(left->second, right->second, merge);
    }
  }
}

void SentencePieceWords::Encode(absl::string_view text, std::vector<int32_t>& ids) const {
  if (text.empty()) return;
  BpeWorkspaces::Loan workspace(workspaces_);
  size_t end = WordEnd(text);
  EncodeWord(absl::StrCat(" ", text.substr(0, end)), *workspace, ids);
  for (text.remove_prefix(end); !text.empty(); text.remove_prefix(end)) {
    end = WordEnd(text);
    EncodeWord(text.substr(0, end), *workspace, ids);
  }
}

void SentencePieceWords::EncodeWord(absl::string_view word, BpeWorkspace& workspace,
                                    std::vector<int32_t>& ids) const {
  if (workspace.cache.AppendIfKnown(word, ids)) return;
  workspace.word.clear();
  AppendCharacters(word, workspace.word);
  workspace.merger.Run(merges_, workspace.word);
  workspace.cache.Remember(word, workspace.word);
  ids.insert(ids.end(), workspace.word.begin(), workspace.word.end());
}

// The ids of the characters of `text`, or of their bytes where they are no pieces.
void SentencePieceWords::AppendCharacters(absl::string_view text, std::vector<int32_t>& ids) const {
  while (!text.empty()) {
    const int length = DecodeUtf8(text).length;
    const absl::string_view character = text[0] == ' ' ? kPieceSpace : text.substr(0, length);
    const auto it = characters_.find(character);
    if (it != characters_.end()) {
      ids.push_back(it->second);
    } else {
      for (const char c : character) ids.push_back(byte_ids_[static_cast<uint8_t>(c)]);
    }
    text.remove_prefix(length);
  }
}

}  // namespace attnlab
