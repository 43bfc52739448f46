#include "libs/text/tokenizer.h"

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "libs/core/files.h"
#include "libs/core/status.h"
#include "libs/text/byte_level_bpe.h"
#include "libs/text/sentencepiece_tokenizer.h"

namespace attnlab {
namespace {

constexpr char kTokenizerJson[] = "tokenizer.json";
constexpr char kVocabJson[] = "vocab.json";
constexpr char kMergesTxt[] = "merges.txt";
constexpr char kSentencePieceModel[] = "tokenizer.model";
constexpr char kBytesFile[] = "tokenizer.bytes";

std::string Fingerprint(const std::vector<TokenizerFile>& files) {
  Sha256 sha;
  const auto add = [&](absl::string_view text) {
    const std::string length = absl::StrCat(text.size(), ":");
    sha.Update({reinterpret_cast<const uint8_t*>(length.data()), length.size()});
    sha.Update({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
  };
  for (const TokenizerFile& file : files) {
    add(file.name);
    add(file.contents);
  }
  return sha.Hex();
}

// The 256 bytes, BOS 256 and EOS 257. Its file only tells a folder what it is.
class BytesTokenizer : public Tokenizer {
 public:
  BytesTokenizer() : Tokenizer({{kBytesFile, "256 bytes, BOS 256, EOS 257\n"}}) {}
  std::string kind() const override { return "bytes"; }
  int32_t vocab_size() const override { return 258; }
  int32_t bos_id() const override { return 256; }
  int32_t eos_id() const override { return 257; }
  int32_t TokenBytes(int32_t id) const override { return id >= 0 && id < 256; }
  using Tokenizer::Encode;
  void Encode(absl::string_view text, std::vector<int32_t>& ids) const override {
    for (const char c : text) ids.push_back(static_cast<uint8_t>(c));
  }
  std::string Decode(absl::Span<const int32_t> ids) const override {
    std::string text;
    for (const int32_t id : ids) {
      if (id >= 0 && id < 256) text.push_back(static_cast<char>(id));
    }
    return text;
  }
};

absl::StatusOr<std::vector<TokenizerFile>> ReadFiles(const std::filesystem::path& directory,
                                                     const std::vector<std::string>& names) {
  std::vector<TokenizerFile> files;
  for (const std::string& name : names) {
    ATTNLAB_ASSIGN_OR_RETURN(std::string contents, ReadFile((directory / name).string()));
    files.push_back({name, std::move(contents)});
  }
  return files;
}

// The files that make up the tokenizer at `path`.
absl::StatusOr<std::vector<TokenizerFile>> FindFiles(const std::filesystem::path& path) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    const auto has = [&](const char* name) { return std::filesystem::exists(path / name, error); };
    for (const char* name : {kTokenizerJson, kSentencePieceModel, kBytesFile}) {
      if (has(name)) return ReadFiles(path, {name});
    }
    if (has(kVocabJson)) return ReadFiles(path, {kVocabJson, kMergesTxt});
    return absl::NotFoundError(absl::StrCat(
        path.string(), " holds no tokenizer: no tokenizer.json, tokenizer.model, nor vocab.json ",
        "with merges.txt"));
  }
  const std::string name = path.filename().string();
  if (name == kVocabJson) return ReadFiles(path.parent_path(), {kVocabJson, kMergesTxt});
  ATTNLAB_ASSIGN_OR_RETURN(std::string contents, ReadFile(path.string()));
  if (absl::EndsWith(name, ".model"))
    return std::vector<TokenizerFile>{{kSentencePieceModel, std::move(contents)}};
  if (absl::EndsWith(name, ".json"))
    return std::vector<TokenizerFile>{{kTokenizerJson, std::move(contents)}};
  return absl::InvalidArgumentError(absl::StrCat(
      path.string(), " is no tokenizer: give \"bytes\", a tokenizer.json, a SentencePiece .model, ",
      "a vocab.json, or a folder with one of these"));
}

}  // namespace

Tokenizer::Tokenizer(std::vector<TokenizerFile> files)
    : files_(std::move(files)), fingerprint_(Fingerprint(files_)) {}

std::vector<int32_t> Tokenizer::Encode(absl::string_view text) const {
  std::vector<int32_t> ids;
  Encode(text, ids);
  return ids;
}

absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizer(const std::string& path) {
  if (path == "bytes") return std::make_unique<BytesTokenizer>();
  ATTNLAB_ASSIGN_OR_RETURN(std::vector<TokenizerFile> files, FindFiles(path));
  const bool json = files[0].name == kTokenizerJson;
  auto tokenizer = MakeTokenizer(std::move(files));
  if (tokenizer.ok()) return tokenizer;
  // Folders of the Llama family hold SentencePiece's model beside its translation.
  const std::filesystem::path model = std::filesystem::path(path) / kSentencePieceModel;
  std::error_code error;
  if (json && std::filesystem::exists(model, error)) {
    auto other = LoadTokenizer(model.string());
    if (other.ok()) return other;
  }
  return Annotate(tokenizer.status(), path);
}

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeTokenizer(std::vector<TokenizerFile> files) {
  if (files.empty()) return absl::InvalidArgumentError("a tokenizer without files");
  const std::string& name = files[0].name;
  if (name == kBytesFile) return std::make_unique<BytesTokenizer>();
  if (name == kSentencePieceModel) return MakeSentencePiece(std::move(files));
  if (name == kTokenizerJson) {
    ATTNLAB_ASSIGN_OR_RETURN(const BpeVocabulary vocabulary, ParseTokenizerJson(files[0].contents));
    return MakeByteLevelBpe(vocabulary, std::move(files));
  }
  if (name == kVocabJson && files.size() == 2 && files[1].name == kMergesTxt) {
    ATTNLAB_ASSIGN_OR_RETURN(const BpeVocabulary vocabulary,
                             ParseVocabAndMerges(files[0].contents, files[1].contents));
    return MakeByteLevelBpe(vocabulary, std::move(files));
  }
  return absl::InvalidArgumentError(absl::StrCat("no tokenizer begins with the file ", name));
}

absl::Status SaveTokenizer(const Tokenizer& tokenizer, const std::string& directory) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) return ErrnoStatus(error.value(), "create folder", directory);
  for (const TokenizerFile& file : tokenizer.files()) {
    const std::string path = (std::filesystem::path(directory) / file.name).string();
    ATTNLAB_RETURN_IF_ERROR(WriteFileAtomically(path, file.contents));
  }
  return absl::OkStatus();
}

}  // namespace attnlab
