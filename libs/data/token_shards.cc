#include "libs/data/token_shards.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <filesystem>
#include <limits>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "libs/core/check.h"
#include "libs/core/status.h"
#include "libs/io/json.h"

namespace attnlab {
namespace {

static_assert(std::endian::native == std::endian::little, "token files are little-endian");

constexpr int64_t kVersion = 1;
constexpr char kFormat[] = "attnlab-tokens";
constexpr char kIndexFile[] = "index.json";
constexpr char kDocumentsFile[] = "documents.bin";
constexpr absl::string_view kTokenMagic = "ATTNTOK1", kDocumentMagic = "ATTNDOC1";

struct Header {
  char magic[8];
  uint32_t version, item_bytes;
  uint64_t count, zero;
};
static_assert(sizeof(Header) == 32);

std::string Join(const std::string& directory, const std::string& file) {
  return (std::filesystem::path(directory) / file).string();
}

std::string WithHeader(absl::string_view magic, uint32_t item_bytes, uint64_t count,
                       absl::string_view items) {
  Header header = {{}, static_cast<uint32_t>(kVersion), item_bytes, count, 0};
  std::memcpy(header.magic, magic.data(), sizeof header.magic);
  std::string contents(reinterpret_cast<const char*>(&header), sizeof header);
  contents.append(items.data(), items.size());
  return contents;
}

// Maps `path` and compares its header and size with what index.json says.
absl::StatusOr<std::unique_ptr<MappedFile>> OpenItems(const std::string& path,
                                                      absl::string_view magic, uint32_t item_bytes,
                                                      int64_t count) {
  ATTNLAB_ASSIGN_OR_RETURN(std::unique_ptr<MappedFile> file, MappedFile::Open(path));
  const auto bad = [&](absl::string_view what) {
    return absl::DataLossError(
        absl::StrCat(path, ": ", what, "; prepare the data again or copy it again"));
  };
  Header header;
  if (file->bytes().size() < sizeof header) return bad("truncated, its header is not whole");
  std::memcpy(&header, file->bytes().data(), sizeof header);
  if (absl::string_view(header.magic, sizeof header.magic) != magic)
    return bad(absl::StrCat("does not begin with ", magic));
  if (header.version != kVersion) return bad(absl::StrCat("unknown version ", header.version));
  if (header.item_bytes != item_bytes || header.count != static_cast<uint64_t>(count) ||
      header.zero != 0) {
    return bad(absl::StrFormat("holds %d items of %d bytes, index.json says %d of %d", header.count,
                               header.item_bytes, count, item_bytes));
  }
  const size_t wanted = sizeof header + static_cast<size_t>(count) * item_bytes;
  if (file->bytes().size() != wanted) {
    return bad(absl::StrFormat("%s: %d bytes, %d are needed",
                               file->bytes().size() < wanted ? "truncated" : "too long",
                               file->bytes().size(), wanted));
  }
  return file;
}

// A count in a file: not negative, and small enough that a product with 8 does not overflow.
absl::StatusOr<int64_t> Count(const JsonRef& value) {
  ATTNLAB_ASSIGN_OR_RETURN(const int64_t count, value.Integer());
  if (count < 0 || count > int64_t{1} << 48)
    return value.Error(absl::StrCat(count, " is no plausible count"));
  return count;
}

// The name of a file beside index.json.
absl::StatusOr<std::string> FileName(const JsonRef& value) {
  ATTNLAB_ASSIGN_OR_RETURN(const absl::string_view name, value.String());
  if (name.empty() || absl::StrContains(name, "/") || name[0] == '.')
    return value.Error(absl::StrCat("\"", name, "\" is no plain file name"));
  return std::string(name);
}

absl::StatusOr<int32_t> IdOr(const JsonRef& value, int32_t fallback) {
  ATTNLAB_ASSIGN_OR_RETURN(const int64_t id, value.IntegerOr(fallback));
  if (id < -1 || id > std::numeric_limits<int32_t>::max())
    return value.Error(absl::StrCat(id, " is out of range"));
  return static_cast<int32_t>(id);
}

absl::StatusOr<TokenShardsInfo> ParseInfo(const JsonRef& root) {
  ATTNLAB_ASSIGN_OR_RETURN(const absl::string_view format, root["format"].String());
  ATTNLAB_ASSIGN_OR_RETURN(const int64_t version, root["version"].Integer());
  if (format != kFormat || version != kVersion) {
    return root.Error(absl::StrCat("format ", format, " version ", version, ", this build reads ",
                                   kFormat, " version ", kVersion));
  }
  TokenShardsInfo info;
  ATTNLAB_ASSIGN_OR_RETURN(info.vocab_size, IdOr(root["vocab_size"], 0));
  if (info.vocab_size < 1) return root["vocab_size"].Error("must be at least 1");
  ATTNLAB_ASSIGN_OR_RETURN(info.bos_id, IdOr(root["bos_id"], -1));
  ATTNLAB_ASSIGN_OR_RETURN(info.eos_id, IdOr(root["eos_id"], -1));
  if (info.bos_id >= info.vocab_size || info.eos_id >= info.vocab_size)
    return root.Error("bos_id or eos_id is not in the vocabulary");
  ATTNLAB_ASSIGN_OR_RETURN(info.tokenizer_path, root["tokenizer_path"].StringOr(""));
  ATTNLAB_ASSIGN_OR_RETURN(info.tokenizer_fingerprint, root["tokenizer_fingerprint"].StringOr(""));
  return info;
}

}  // namespace

TokenShardWriter::TokenShardWriter(std::string directory, TokenShardsInfo info,
                                   int64_t shard_tokens)
    : directory_(std::move(directory)),
      info_(std::move(info)),
      shard_tokens_(shard_tokens),
      token_bytes_(info_.vocab_size <= 1 << 16 ? 2 : 4) {}

TokenShardWriter::~TokenShardWriter() = default;

absl::StatusOr<std::unique_ptr<TokenShardWriter>> TokenShardWriter::Create(
    const std::string& directory, const TokenShardsInfo& info, int64_t shard_tokens) {
  ATTNLAB_CHECK(info.vocab_size > 0);
  if (shard_tokens < 1) return absl::InvalidArgumentError("shards must hold at least one token");
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(directory).parent_path(), error);
  if (!std::filesystem::create_directory(directory, error)) {
    return absl::AlreadyExistsError(absl::StrCat(
        directory, error ? ": " + error.message() : " exists; give another folder or remove it"));
  }
  return std::unique_ptr<TokenShardWriter>(new TokenShardWriter(directory, info, shard_tokens));
}

absl::Status TokenShardWriter::AddDocument(absl::Span<const int32_t> ids, int64_t text_bytes) {
  documents_.push_back(tokens_);
  text_bytes_ += text_bytes;
  buffer_text_bytes_ += text_bytes;
  while (!ids.empty()) {
    const int64_t room = shard_tokens_ - static_cast<int64_t>(buffer_.size()) / token_bytes_;
    const auto part = ids.first(std::min<int64_t>(room, ids.size()));
    for (const int32_t id : part) {
      ATTNLAB_CHECK(id >= 0 && id < info_.vocab_size);
      buffer_.append(reinterpret_cast<const char*>(&id), token_bytes_);
    }
    tokens_ += part.size();
    ids.remove_prefix(part.size());
    if (static_cast<int64_t>(buffer_.size()) == shard_tokens_ * token_bytes_)
      ATTNLAB_RETURN_IF_ERROR(FlushShard());
  }
  return absl::OkStatus();
}

absl::Status TokenShardWriter::FlushShard() {
  Shard shard;
  shard.file = absl::StrFormat("shard-%05d.bin", shards_.size());
  shard.tokens = static_cast<int64_t>(buffer_.size()) / token_bytes_;
  shard.text_bytes = std::exchange(buffer_text_bytes_, 0);
  const std::string contents = WithHeader(kTokenMagic, token_bytes_, shard.tokens, buffer_);
  buffer_.clear();
  Sha256 sha;
  sha.Update({reinterpret_cast<const uint8_t*>(contents.data()), contents.size()});
  shard.sha256 = sha.Hex();
  ATTNLAB_RETURN_IF_ERROR(WriteFileAtomically(Join(directory_, shard.file), contents));
  shards_.push_back(std::move(shard));
  return absl::OkStatus();
}

absl::Status TokenShardWriter::Finish() {
  if (!buffer_.empty()) ATTNLAB_RETURN_IF_ERROR(FlushShard());
  const absl::string_view starts(reinterpret_cast<const char*>(documents_.data()),
                                 documents_.size() * sizeof documents_[0]);
  ATTNLAB_RETURN_IF_ERROR(WriteFileAtomically(
      Join(directory_, kDocumentsFile), WithHeader(kDocumentMagic, 8, documents_.size(), starts)));
  Json shards = Json::MakeArray();
  for (const Shard& shard : shards_) {
    Json entry = Json::MakeObject();
    entry.Set("file", shard.file).Set("tokens", shard.tokens).Set("text_bytes", shard.text_bytes);
    shards.Append(std::move(entry.Set("sha256", shard.sha256)));
  }
  Json index = Json::MakeObject();
  index.Set("format", kFormat).Set("version", kVersion);
  index.Set("dtype", token_bytes_ == 2 ? "uint16" : "uint32");
  index.Set("vocab_size", int64_t{info_.vocab_size});
  index.Set("bos_id", int64_t{info_.bos_id}).Set("eos_id", int64_t{info_.eos_id});
  index.Set("tokenizer_path", info_.tokenizer_path);
  index.Set("tokenizer_fingerprint", info_.tokenizer_fingerprint);
  index.Set("tokens", tokens_).Set("text_bytes", text_bytes_);
  index.Set("documents_file", kDocumentsFile).Set("documents", documents());
  index.Set("shards", std::move(shards));
  return WriteFileAtomically(Join(directory_, kIndexFile), index.Dump(2) + "\n");
}

absl::StatusOr<std::unique_ptr<TokenShards>> TokenShards::Open(const std::string& directory,
                                                               bool verify) {
  const std::string index_path = Join(directory, kIndexFile);
  std::error_code error;
  if (!std::filesystem::exists(index_path, error)) {
    return absl::NotFoundError(absl::StrCat(directory, " holds no prepared text (no ", kIndexFile,
                                            "); make it with `prepare`"));
  }
  ATTNLAB_ASSIGN_OR_RETURN(const Json json, Json::ParseFile(index_path));
  const JsonRef root(json, index_path);
  auto shards = std::unique_ptr<TokenShards>(new TokenShards);
  shards->directory_ = directory;
  ATTNLAB_ASSIGN_OR_RETURN(shards->info_, ParseInfo(root));
  ATTNLAB_ASSIGN_OR_RETURN(const absl::string_view dtype, root["dtype"].String());
  if (dtype != "uint16" && dtype != "uint32")
    return root["dtype"].Error(absl::StrCat("unknown dtype ", dtype));
  shards->token_bytes_ = dtype == "uint16" ? 2 : 4;
  ATTNLAB_ASSIGN_OR_RETURN(const int64_t tokens, Count(root["tokens"]));
  ATTNLAB_ASSIGN_OR_RETURN(shards->text_bytes_, Count(root["text_bytes"]));
  ATTNLAB_ASSIGN_OR_RETURN(shards->documents_, Count(root["documents"]));
  ATTNLAB_ASSIGN_OR_RETURN(const auto entries, root["shards"].Elements());
  for (const JsonRef& entry : entries) {
    ATTNLAB_RETURN_IF_ERROR(shards->OpenShard(entry, verify));
  }
  if (shards->tokens_ != tokens) {
    return root["tokens"].Error(
        absl::StrCat(tokens, ", but the shards hold ", shards->tokens_, " tokens"));
  }
  return shards;
}

absl::Status TokenShards::OpenShard(const JsonRef& entry, bool verify) {
  Shard shard;
  shard.first = tokens_;
  ATTNLAB_ASSIGN_OR_RETURN(const std::string name, FileName(entry["file"]));
  ATTNLAB_ASSIGN_OR_RETURN(shard.tokens, Count(entry["tokens"]));
  ATTNLAB_ASSIGN_OR_RETURN(const absl::string_view sha256, entry["sha256"].String());
  shard.sha256 = std::string(sha256);
  const std::string path = Join(directory_, name);
  ATTNLAB_ASSIGN_OR_RETURN(shard.file, OpenItems(path, kTokenMagic, token_bytes_, shard.tokens));
  if (verify) {
    Sha256 sha;
    sha.Update(shard.file->bytes());
    if (sha.Hex() != shard.sha256) {
      return absl::DataLossError(absl::StrCat(path, ": corrupt, its SHA-256 is not the one in ",
                                              kIndexFile,
                                              "; prepare the data again or copy it again"));
    }
  }
  tokens_ += shard.tokens;
  shards_.push_back(std::move(shard));
  return absl::OkStatus();
}

std::vector<InputFile> TokenShards::files() const {
  std::vector<InputFile> files;
  for (const Shard& shard : shards_) {
    files.push_back(
        {shard.file->path(), shard.sha256, static_cast<int64_t>(shard.file->bytes().size())});
  }
  return files;
}

absl::Status TokenShards::Read(int64_t first, int64_t count, int32_t* out) const {
  ATTNLAB_CHECK(first >= 0 && count >= 0 && first + count <= tokens_);
  auto shard = std::upper_bound(shards_.begin(), shards_.end(), first,
                                [](int64_t at, const Shard& s) { return at < s.first + s.tokens; });
  while (count > 0) {
    const int64_t offset = first - shard->first;
    const int64_t part = std::min(count, shard->tokens - offset);
    const uint8_t* items = shard->file->bytes().data() + sizeof(Header) + offset * token_bytes_;
    uint32_t largest = 0;
    for (int64_t i = 0; i < part; ++i) {
      uint32_t id = 0;
      std::memcpy(&id, items + i * token_bytes_, token_bytes_);
      largest = std::max(largest, id);
      out[i] = static_cast<int32_t>(id);
    }
    if (largest >= static_cast<uint32_t>(info_.vocab_size)) {
      return absl::DataLossError(absl::StrCat(shard->file->path(), ": token id ", largest,
                                              " is not in the vocabulary of ", info_.vocab_size));
    }
    first += part;
    out += part;
    count -= part;
    ++shard;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<int64_t>> TokenShards::Documents() const {
  const std::string path = Join(directory_, kDocumentsFile);
  ATTNLAB_ASSIGN_OR_RETURN(const auto file, OpenItems(path, kDocumentMagic, 8, documents_));
  std::vector<int64_t> starts(documents_);
  if (starts.empty()) return starts;
  std::memcpy(starts.data(), file->bytes().data() + sizeof(Header), documents_ * sizeof starts[0]);
  for (size_t i = 0; i < starts.size(); ++i) {
    if (starts[i] < (i == 0 ? 0 : starts[i - 1]) || starts[i] > tokens_)
      return absl::DataLossError(absl::StrCat(path, ": document ", i, " starts out of order"));
  }
  return starts;
}

}  // namespace attnlab
