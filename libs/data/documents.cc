#include "libs/data/documents.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "libs/core/status.h"
#include "libs/io/json.h"
#include "libs/text/utf8.h"

namespace attnlab {
namespace {

constexpr size_t kMaxTextBytes = size_t{64} << 20;   // of one document of a .txt file
constexpr size_t kMaxLineBytes = size_t{256} << 20;  // of a .jsonl line
constexpr size_t kBlock = size_t{1} << 18;
constexpr char kKinds[] = ".txt and .jsonl, also with .gz or .zst, are read";

// Sets `json_lines` and returns true when `path` names a text file.
bool IsTextFile(absl::string_view path, bool& json_lines) {
  if (!absl::ConsumeSuffix(&path, ".zst")) absl::ConsumeSuffix(&path, ".gz");
  json_lines = absl::EndsWith(path, ".jsonl");
  return json_lines || absl::EndsWith(path, ".txt");
}

absl::StatusOr<TextFile> Describe(const std::filesystem::path& path) {
  TextFile file{path.string(), 0, false};
  if (!IsTextFile(file.path, file.json_lines))
    return absl::InvalidArgumentError(absl::StrCat(file.path, " is of no known kind: ", kKinds));
  std::error_code error;
  file.bytes = static_cast<int64_t>(std::filesystem::file_size(path, error));
  if (error) return ErrnoStatus(error.value(), "open", file.path);
  return file;
}

absl::StatusOr<std::vector<TextFile>> ListFolder(const std::filesystem::path& folder) {
  std::vector<TextFile> files;
  std::error_code error;
  for (std::filesystem::recursive_directory_iterator it(folder, error), end; !error && it != end;
       it.increment(error)) {
    bool json_lines = false;
    if (!it->is_regular_file(error) || !IsTextFile(it->path().string(), json_lines)) continue;
    ATTNLAB_ASSIGN_OR_RETURN(files.emplace_back(), Describe(it->path()));
  }
  if (error) return ErrnoStatus(error.value(), "list", folder.string());
  if (files.empty())
    return absl::NotFoundError(absl::StrCat(folder.string(), " holds no text files: ", kKinds));
  std::sort(files.begin(), files.end(),
            [](const TextFile& a, const TextFile& b) { return a.path < b.path; });
  return files;
}

}  // namespace

absl::StatusOr<std::vector<TextFile>> ListTextFiles(const std::vector<std::string>& paths) {
  std::vector<TextFile> files;
  for (const std::string& path : paths) {
    std::error_code error;
    if (std::filesystem::is_directory(path, error)) {
      ATTNLAB_ASSIGN_OR_RETURN(std::vector<TextFile> below, ListFolder(path));
      files.insert(files.end(), below.begin(), below.end());
    } else {
      ATTNLAB_ASSIGN_OR_RETURN(files.emplace_back(), Describe(path));
    }
  }
  return files;
}

absl::StatusOr<std::string> DocumentText(RawDocument document, const TextFile& file,
                                         const std::string& field, InvalidUtf8 policy) {
  const auto where = [&] { return absl::StrCat(file.path, ":", document.line); };
  std::string& raw = document.raw;
  if (std::string storage; policy == InvalidUtf8::kReplace) {
    ReplaceInvalidUtf8(raw, storage);
    if (!storage.empty()) raw = std::move(storage);
  } else if (!IsValidUtf8(raw)) {
    return absl::InvalidArgumentError(
        absl::StrCat(where(), ": invalid UTF-8; mend the file or give --invalid-utf8 replace"));
  }
  if (!file.json_lines) return std::move(raw);
  absl::StatusOr<std::string> text = JsonStringField(raw, field);
  if (absl::IsNotFound(text.status())) {
    return absl::InvalidArgumentError(absl::StrCat(
        where(), ": no field \"", field, "\"; name the field that holds the text with --field"));
  }
  if (!text.ok()) return Annotate(text.status(), where());
  return text;
}

DocumentReader::DocumentReader(TextFile file, std::unique_ptr<ByteReader> reader)
    : file_(std::move(file)), reader_(std::move(reader)) {}

absl::StatusOr<std::unique_ptr<DocumentReader>> DocumentReader::Open(const TextFile& file) {
  ATTNLAB_ASSIGN_OR_RETURN(std::unique_ptr<ByteReader> reader, ByteReader::Open(file.path));
  return std::unique_ptr<DocumentReader>(new DocumentReader(file, std::move(reader)));
}

absl::StatusOr<bool> DocumentReader::Next(RawDocument& document) {
  if (!file_.json_lines) {
    document.line = line_ + 1;
    return NextText(document.raw);
  }
  do {
    ATTNLAB_ASSIGN_OR_RETURN(const bool more, NextLine(document.raw));
    if (!more) return false;
  } while (document.raw.find_first_not_of(" \t\r") == std::string::npos);
  document.line = line_;
  return true;
}

absl::StatusOr<bool> DocumentReader::NextLine(std::string& line) {
  size_t searched = begin_;
  size_t end;
  while ((end = pending_.find('\n', searched)) == std::string::npos && !at_end_) {
    const size_t held = pending_.size() - begin_;
    if (held > kMaxLineBytes) {
      return absl::InvalidArgumentError(absl::StrCat(file_.path, ":", line_ + 1,
                                                     ": a line of more than ", kMaxLineBytes,
                                                     " bytes; is this a .jsonl file?"));
    }
    ATTNLAB_RETURN_IF_ERROR(Fill());  // moves what is pending to the front
    searched = held;
  }
  if (end == std::string::npos) end = pending_.size();
  if (end == begin_ && end == pending_.size()) return false;
  line.assign(pending_, begin_, end - begin_);
  begin_ = std::min(end + 1, pending_.size());
  ++line_;
  return true;
}

absl::StatusOr<bool> DocumentReader::NextText(std::string& text) {
  while (!at_end_ && pending_.size() - begin_ < kMaxTextBytes) ATTNLAB_RETURN_IF_ERROR(Fill());
  if (begin_ == pending_.size()) return false;
  size_t end = pending_.size();
  if (!at_end_) {
    const size_t newline = pending_.rfind('\n');
    if (newline != std::string::npos && newline >= begin_) end = newline + 1;
  }
  text.assign(pending_, begin_, end - begin_);
  line_ += std::count(text.begin(), text.end(), '\n');
  begin_ = end;
  return true;
}

absl::Status DocumentReader::Fill() {
  pending_.erase(0, std::exchange(begin_, 0));
  const size_t held = pending_.size();
  pending_.resize(held + kBlock);
  absl::StatusOr<size_t> n = reader_->Read(pending_.data() + held, kBlock);
  pending_.resize(held + (n.ok() ? *n : 0));
  if (!n.ok()) return n.status();
  at_end_ = *n == 0;
  return absl::OkStatus();
}

}  // namespace attnlab
