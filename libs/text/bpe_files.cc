#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "libs/core/status.h"
#include "libs/io/json.h"
#include "libs/text/byte_level_bpe.h"

namespace attnlab {
namespace {

constexpr char kTokenizerJson[] = "tokenizer.json";

absl::StatusOr<int32_t> TokenId(const JsonRef& value) {
  ATTNLAB_ASSIGN_OR_RETURN(const int64_t id, value.Integer());
  if (id < 0 || id > std::numeric_limits<int32_t>::max())
    return value.Error(absl::StrCat(id, " is no token id"));
  return static_cast<int32_t>(id);
}

absl::Status ParseTokens(const JsonRef& vocab, BpeVocabulary& out) {
  ATTNLAB_ASSIGN_OR_RETURN(const auto members, vocab.Members());
  out.tokens.reserve(members.size());
  for (const auto& [token, value] : members) {
    ATTNLAB_ASSIGN_OR_RETURN(const int32_t id, TokenId(value));
    out.tokens.emplace_back(std::string(token), id);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::pair<std::string, std::string>> ParseMerge(absl::string_view line) {
  std::vector<std::string> sides = absl::StrSplit(line, ' ');
  if (sides.size() != 2 || sides[0].empty() || sides[1].empty())
    return absl::InvalidArgumentError(absl::StrCat("expected two tokens, found \"", line, "\""));
  return std::make_pair(std::move(sides[0]), std::move(sides[1]));
}

// Merges are "left right" strings, or pairs of strings in newer files.
absl::Status ParseMerges(const JsonRef& merges, BpeVocabulary& out) {
  ATTNLAB_ASSIGN_OR_RETURN(const std::vector<JsonRef> elements, merges.Elements());
  out.merges.reserve(elements.size());
  for (const JsonRef& element : elements) {
    if (element.IsString()) {
      auto merge = ParseMerge(*element.String());
      if (!merge.ok()) return element.Error(merge.status().message());
      out.merges.push_back(*std::move(merge));
    } else {
      ATTNLAB_ASSIGN_OR_RETURN(const std::vector<std::string> sides, element.Strings());
      if (sides.size() != 2) return element.Error("expected two tokens");
      out.merges.emplace_back(sides[0], sides[1]);
    }
  }
  return absl::OkStatus();
}

absl::Status ParseAdded(const JsonRef& added_tokens, BpeVocabulary& out) {
  if (!added_tokens.present()) return absl::OkStatus();
  ATTNLAB_ASSIGN_OR_RETURN(const std::vector<JsonRef> elements, added_tokens.Elements());
  for (const JsonRef& element : elements) {
    AddedToken token;
    ATTNLAB_ASSIGN_OR_RETURN(const absl::string_view content, element["content"].String());
    token.content = std::string(content);
    if (content.empty()) return element["content"].Error("an added token is empty");
    ATTNLAB_ASSIGN_OR_RETURN(token.id, TokenId(element["id"]));
    ATTNLAB_ASSIGN_OR_RETURN(token.special, element["special"].BoolOr(false));
    ATTNLAB_ASSIGN_OR_RETURN(token.normalized, element["normalized"].BoolOr(!token.special));
    for (const char* flag : {"single_word", "lstrip", "rstrip"}) {
      ATTNLAB_ASSIGN_OR_RETURN(const bool set, element[flag].BoolOr(false));
      if (set) return element[flag].Error("added tokens with this flag are not supported");
    }
    out.added.push_back(std::move(token));
  }
  return absl::OkStatus();
}

// null, NFC, or a sequence of these.
absl::Status ParseNormalizer(const JsonRef& normalizer, BpeVocabulary& out) {
  if (!normalizer.present()) return absl::OkStatus();
  ATTNLAB_ASSIGN_OR_RETURN(const absl::string_view type, normalizer["type"].String());
  if (type == "NFC") {
    out.nfc = true;
    return absl::OkStatus();
  }
  if (type != "Sequence") {
    return normalizer.Error(
        absl::StrCat("normalizer ", type, " is not supported; NFC is, and a Sequence of it"));
  }
  ATTNLAB_ASSIGN_OR_RETURN(const auto parts, normalizer["normalizers"].Elements());
  for (const JsonRef& part : parts) ATTNLAB_RETURN_IF_ERROR(ParseNormalizer(part, out));
  return absl::OkStatus();
}

absl::Status ParseSplit(const JsonRef& split, BpeVocabulary& out) {
  ATTNLAB_ASSIGN_OR_RETURN(const absl::string_view pattern, split["pattern"]["Regex"].String());
  ATTNLAB_ASSIGN_OR_RETURN(const std::string behavior, split["behavior"].StringOr("Isolated"));
  ATTNLAB_ASSIGN_OR_RETURN(const bool invert, split["invert"].BoolOr(false));
  if (behavior != "Isolated" || invert)
    return split.Error("only the behavior Isolated without invert is supported");
  if (pattern.empty()) return split.Error("the pattern is empty");
  out.split_patterns.emplace_back(pattern);
  return absl::OkStatus();
}

// ByteLevel, alone or as the last of a sequence of Splits.
absl::Status ParsePreTokenizer(const JsonRef& pre_tokenizer, BpeVocabulary& out, bool& bytes) {
  ATTNLAB_ASSIGN_OR_RETURN(const absl::string_view type, pre_tokenizer["type"].String());
  if (bytes) return pre_tokenizer.Error("ByteLevel must be the last pre-tokenizer");
  if (type == "Split") return ParseSplit(pre_tokenizer, out);
  if (type == "ByteLevel") {
    bytes = true;
    ATTNLAB_ASSIGN_OR_RETURN(out.add_prefix_space, pre_tokenizer["add_prefix_space"].BoolOr(true));
    if (out.add_prefix_space && !out.split_patterns.empty())
      return pre_tokenizer.Error("add_prefix_space after a Split is not supported");
    ATTNLAB_ASSIGN_OR_RETURN(const bool use_regex, pre_tokenizer["use_regex"].BoolOr(true));
    if (use_regex) out.split_patterns.emplace_back();
    return absl::OkStatus();
  }
  if (type != "Sequence")
    return pre_tokenizer.Error(
        absl::StrCat("pre-tokenizer ", type, " is not supported; ByteLevel and Split are"));
  ATTNLAB_ASSIGN_OR_RETURN(const auto parts, pre_tokenizer["pretokenizers"].Elements());
  for (const JsonRef& part : parts) ATTNLAB_RETURN_IF_ERROR(ParsePreTokenizer(part, out, bytes));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<BpeVocabulary> ParseTokenizerJson(const std::string& contents) {
  ATTNLAB_ASSIGN_OR_RETURN(const Json json, Json::Parse(contents, kTokenizerJson));
  const JsonRef root(json, kTokenizerJson);
  const JsonRef model = root["model"];
  ATTNLAB_ASSIGN_OR_RETURN(const std::string type, model["type"].StringOr("BPE"));
  ATTNLAB_ASSIGN_OR_RETURN(const bool byte_fallback, model["byte_fallback"].BoolOr(false));
  if (type != "BPE" || byte_fallback) {
    return model.Error(absl::StrCat(
        "model ", type, byte_fallback ? " with byte_fallback" : "",
        " is not supported here; byte-level BPE is, and a SentencePiece tokenizer.model"));
  }
  BpeVocabulary out;
  ATTNLAB_RETURN_IF_ERROR(ParseTokens(model["vocab"], out));
  ATTNLAB_RETURN_IF_ERROR(ParseMerges(model["merges"], out));
  ATTNLAB_ASSIGN_OR_RETURN(out.ignore_merges, model["ignore_merges"].BoolOr(false));
  ATTNLAB_RETURN_IF_ERROR(ParseAdded(root["added_tokens"], out));
  ATTNLAB_RETURN_IF_ERROR(ParseNormalizer(root["normalizer"], out));
  bool bytes = false;
  ATTNLAB_RETURN_IF_ERROR(ParsePreTokenizer(root["pre_tokenizer"], out, bytes));
  if (!bytes) return root["pre_tokenizer"].Error("ByteLevel is missing");
  return out;
}

absl::StatusOr<BpeVocabulary> ParseVocabAndMerges(const std::string& vocab_json,
                                                  const std::string& merges_txt) {
  BpeVocabulary out;
  ATTNLAB_ASSIGN_OR_RETURN(const Json json, Json::Parse(vocab_json, "vocab.json"));
  ATTNLAB_RETURN_IF_ERROR(ParseTokens(JsonRef(json, "vocab.json"), out));
  int64_t number = 0;
  for (absl::string_view line : absl::StrSplit(merges_txt, '\n')) {
    ++number;
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (line.empty() || (number == 1 && line.substr(0, 8) == "#version")) continue;
    auto merge = ParseMerge(line);
    if (!merge.ok()) return Annotate(merge.status(), absl::StrCat("merges.txt:", number));
    out.merges.push_back(*std::move(merge));
  }
  out.split_patterns.emplace_back();
  for (const auto& [token, id] : out.tokens) {
    if (token == "<|endoftext|>") out.added.push_back({token, id, /*special=*/true});
  }
  return out;
}

}  // namespace attnlab
