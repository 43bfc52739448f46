#include "libs/text/byte_level_bpe.h"

#include <algorithm>
#include <array>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "libs/core/status.h"
#include "libs/text/added_tokens.h"
#include "libs/text/bpe.h"
#include "libs/text/split_pattern.h"
#include "libs/text/utf8.h"

namespace attnlab {
namespace {

constexpr int32_t kMaxVocabulary = 1 << 24;

// GPT-2's alphabet: printable Latin-1 bytes stand for themselves, the other 68 bytes are the code
// points from 256 on, in order.
char32_t AlphabetOf(int byte) {
  const auto printable = [](int b) {
    return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
  };
  if (printable(byte)) return byte;
  char32_t code = 256;
  for (int b = 0; b < byte; ++b) code += !printable(b);
  return code;
}

// The bytes that `spelled` stands for; false when a character is not in the alphabet.
bool FromAlphabet(absl::string_view spelled, std::string& bytes) {
  static const auto& table = *[] {
    auto* inverse = new std::array<int16_t, 512>;
    inverse->fill(-1);
    for (int byte = 0; byte < 256; ++byte) (*inverse)[AlphabetOf(byte)] = byte;
    return inverse;
  }();
  bytes.clear();
  while (!spelled.empty()) {
    const DecodedChar c = DecodeUtf8(spelled);
    if (!c.valid || c.code >= table.size() || table[c.code] < 0) return false;
    bytes.push_back(static_cast<char>(table[c.code]));
    spelled.remove_prefix(c.length);
  }
  return true;
}

// A byte that valid UTF-8 never holds; a vocabulary may lack it.
bool NeverInUtf8(int byte) { return byte == 0xC0 || byte == 0xC1 || byte >= 0xF5; }

class ByteLevelBpe : public Tokenizer {
 public:
  explicit ByteLevelBpe(std::vector<TokenizerFile> files) : Tokenizer(std::move(files)) {}

  absl::Status Init(const BpeVocabulary& vocabulary);

  std::string kind() const override { return "byte-level-bpe"; }
  int32_t vocab_size() const override { return static_cast<int32_t>(bytes_.size()); }
  int32_t bos_id() const override { return bos_id_; }
  int32_t eos_id() const override { return eos_id_; }
  int32_t TokenBytes(int32_t id) const override {
    return id >= 0 && id < vocab_size() ? static_cast<int32_t>(bytes_[id].size()) : 0;
  }
  std::string Decode(absl::Span<const int32_t> ids) const override {
    std::string text;
    for (const int32_t id : ids) {
      if (id >= 0 && id < vocab_size()) text += bytes_[id];
    }
    return text;
  }
  using Tokenizer::Encode;
  void Encode(absl::string_view text, std::vector<int32_t>& ids) const override;

 private:
  absl::Status AddTokens(const BpeVocabulary& vocabulary);
  absl::Status AddMerges(const BpeVocabulary& vocabulary);
  void AddAddedTokens(const BpeVocabulary& vocabulary);
  void EncodeSegment(absl::string_view text, BpeWorkspace& workspace,
                     std::vector<int32_t>& ids) const;
  void SplitAndEncode(absl::string_view text, size_t level, BpeWorkspace& workspace,
                      std::vector<int32_t>& ids) const;
  void EncodeWord(absl::string_view word, BpeWorkspace& workspace, std::vector<int32_t>& ids) const;

  std::vector<std::string> bytes_;  // by id; empty for special tokens and unused ids
  absl::flat_hash_map<std::string, int32_t> id_of_;  // by bytes, added tokens apart
  std::array<int32_t, 256> byte_ids_;
  MergeTable merges_;
  AddedTokens before_, after_;  // matched before and after normalization
  std::vector<std::unique_ptr<SplitPattern>> patterns_;
  bool nfc_ = false, add_prefix_space_ = false, ignore_merges_ = false;
  int32_t bos_id_ = -1, eos_id_ = -1;
  mutable BpeWorkspaces workspaces_;
};

absl::Status ByteLevelBpe::Init(const BpeVocabulary& vocabulary) {
  nfc_ = vocabulary.nfc;
  add_prefix_space_ = vocabulary.add_prefix_space;
  ignore_merges_ = vocabulary.ignore_merges;
  ATTNLAB_RETURN_IF_ERROR(AddTokens(vocabulary));
  ATTNLAB_RETURN_IF_ERROR(AddMerges(vocabulary));
  AddAddedTokens(vocabulary);
  for (const std::string& pattern : vocabulary.split_patterns) {
    if (pattern.empty()) {
      patterns_.push_back(SplitPattern::Gpt2());
    } else {
      ATTNLAB_ASSIGN_OR_RETURN(patterns_.emplace_back(), SplitPattern::Compile(pattern));
    }
  }
  return absl::OkStatus();
}

absl::Status ByteLevelBpe::AddTokens(const BpeVocabulary& vocabulary) {
  int32_t size = 0;
  const auto in_range = [&](const std::string& token, int32_t id) -> absl::Status {
    if (id < 0 || id >= kMaxVocabulary)
      return absl::InvalidArgumentError(absl::StrCat("token \"", token, "\" has the id ", id));
    size = std::max(size, id + 1);
    return absl::OkStatus();
  };
  for (const auto& [token, id] : vocabulary.tokens) ATTNLAB_RETURN_IF_ERROR(in_range(token, id));
  for (const AddedToken& added : vocabulary.added)
    ATTNLAB_RETURN_IF_ERROR(in_range(added.content, added.id));
  bytes_.resize(size);
  std::vector<bool> used(size);
  std::string bytes;
  for (const auto& [token, id] : vocabulary.tokens) {
    if (used[id]) return absl::InvalidArgumentError(absl::StrCat("two tokens have the id ", id));
    used[id] = true;
    if (!FromAlphabet(token, bytes)) bytes = token;  // an added token that the vocabulary repeats
    bytes_[id] = bytes;
    id_of_.emplace(bytes, id);
  }
  for (int byte = 0; byte < 256; ++byte) {
    const auto it = id_of_.find(std::string(1, static_cast<char>(byte)));
    byte_ids_[byte] = it == id_of_.end() ? -1 : it->second;
    if (byte_ids_[byte] < 0 && !NeverInUtf8(byte))
      return absl::InvalidArgumentError(absl::StrCat("the vocabulary has no token for byte ", byte,
                                                     "; this is no byte-level vocabulary"));
  }
  return absl::OkStatus();
}

absl::Status ByteLevelBpe::AddMerges(const BpeVocabulary& vocabulary) {
  std::string left, right;
  for (size_t rank = 0; rank < vocabulary.merges.size(); ++rank) {
    const auto& [first, second] = vocabulary.merges[rank];
    if (!FromAlphabet(first, left)) left = first;
    if (!FromAlphabet(second, right)) right = second;
    const auto left_it = id_of_.find(left), right_it = id_of_.find(right);
    const auto joined = id_of_.find(left + right);
    if (left_it == id_of_.end() || right_it == id_of_.end() || joined == id_of_.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat("merge ", rank, " (\"", first, " ", second,
                       "\") joins or makes a token that the vocabulary has not"));
    }
    merges_.Set(left_it->second, right_it->second, {static_cast<int32_t>(rank), joined->second});
  }
  return absl::OkStatus();
}

void ByteLevelBpe::AddAddedTokens(const BpeVocabulary& vocabulary) {
  const auto special = [&](std::initializer_list<absl::string_view> names) {
    for (const absl::string_view name : names) {
      for (const AddedToken& added : vocabulary.added) {
        if (added.special && added.content == name) return added.id;
      }
    }
    return -1;
  };
  std::string storage;
  for (const AddedToken& added : vocabulary.added) {
    bytes_[added.id] = added.special ? "" : added.content;
    if (!added.normalized) {
      before_.Add(added.content, added.id);
    } else {
      after_.Add(nfc_ ? NormalizeNfc(added.content, storage) : absl::string_view(added.content),
                 added.id);
    }
  }
  eos_id_ = special({"<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>"});
  bos_id_ = special({"<|begin_of_text|>", "<|startoftext|>", "<s>", "<bos>", "<|endoftext|>"});
}

void ByteLevelBpe::Encode(absl::string_view text, std::vector<int32_t>& ids) const {
  BpeWorkspaces::Loan workspace(workspaces_);
  std::string valid, normalized;
  before_.Split(ReplaceInvalidUtf8(text, valid), [&](absl::string_view part, int32_t id) {
    if (id >= 0) {
      ids.push_back(id);
      return;
    }
    const absl::string_view segment = nfc_ ? NormalizeNfc(part, normalized) : part;
    after_.Split(segment, [&](absl::string_view piece, int32_t piece_id) {
      if (piece_id >= 0) {
        ids.push_back(piece_id);
      } else {
        EncodeSegment(piece, *workspace, ids);
      }
    });
  });
}

void ByteLevelBpe::EncodeSegment(absl::string_view text, BpeWorkspace& workspace,
                                 std::vector<int32_t>& ids) const {
  if (add_prefix_space_ && !IsUnicodeSpace(DecodeUtf8(text).code)) {
    SplitAndEncode(absl::StrCat(" ", text), 0, workspace, ids);
  } else {
    SplitAndEncode(text, 0, workspace, ids);
  }
}

void ByteLevelBpe::SplitAndEncode(absl::string_view text, size_t level, BpeWorkspace& workspace,
                                  std::vector<int32_t>& ids) const {
  if (level == patterns_.size()) return EncodeWord(text, workspace, ids);
  patterns_[level]->Split(
      text, [&](absl::string_view part) { SplitAndEncode(part, level + 1, workspace, ids); });
}

void ByteLevelBpe::EncodeWord(absl::string_view word, BpeWorkspace& workspace,
                              std::vector<int32_t>& ids) const {
  if (workspace.cache.AppendIfKnown(word, ids)) return;
  std::vector<int32_t>& symbols = workspace.word;
  symbols.clear();
  const auto whole = ignore_merges_ ? id_of_.find(word) : id_of_.end();
  if (whole != id_of_.end()) {
    symbols.push_back(whole->second);
  } else {
    for (const char c : word) symbols.push_back(byte_ids_[static_cast<uint8_t>(c)]);
    workspace.merger.Run(merges_, symbols);
  }
  workspace.cache.Remember(word, symbols);
  ids.insert(ids.end(), symbols.begin(), symbols.end());
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeByteLevelBpe(const BpeVocabulary& vocabulary,
                                                            std::vector<TokenizerFile> files) {
  auto tokenizer = std::make_unique<ByteLevelBpe>(std::move(files));
  ATTNLAB_RETURN_IF_ERROR(tokenizer->Init(vocabulary));
  return tokenizer;
}

}  // namespace attnlab
