// The documents of text files: a .txt file is one document, a line of a .jsonl file is one
// document; both may be compressed (.zst, .gz).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/data/byte_reader.h"

namespace attnlab {

struct TextFile {
  std::string path;
  int64_t bytes = 0;  // on disk
  bool json_lines = false;
};

// The text files that `paths` name: files, and all text files below folders, in the order of their
// names. Errors: nothing there, a file of another kind, a folder without text files.
absl::StatusOr<std::vector<TextFile>> ListTextFiles(const std::vector<std::string>& paths);

// What to do with a document that is not valid UTF-8.
enum class InvalidUtf8 { kError, kReplace };

// A document as it stands in its file: a line of JSON, or text.
struct RawDocument {
  std::string raw;
  int64_t line = 0;  // of its file, from 1
};

// The text of `document`. Errors name FILE:LINE: no JSON, no such field, invalid UTF-8.
absl::StatusOr<std::string> DocumentText(RawDocument document, const TextFile& file,
                                         const std::string& field, InvalidUtf8 policy);

// Reads the documents of one file with bounded memory: a .txt file of more than 64 MiB becomes
// several documents, cut at line ends.
class DocumentReader {
 public:
  static absl::StatusOr<std::unique_ptr<DocumentReader>> Open(const TextFile& file);

  // The next document, or false at the end. Blank lines of .jsonl are passed over.
  absl::StatusOr<bool> Next(RawDocument& document);

  const TextFile& file() const { return file_; }
  int64_t bytes_on_disk() const { return reader_->bytes_on_disk(); }
  std::string Sha256Hex() { return reader_->Sha256Hex(); }  // once, after the end

 private:
  DocumentReader(TextFile file, std::unique_ptr<ByteReader> reader);
  absl::StatusOr<bool> NextLine(std::string& line);
  absl::StatusOr<bool> NextText(std::string& text);
  absl::Status Fill();  // appends to pending_, or sets at_end_

  const TextFile file_;
  const std::unique_ptr<ByteReader> reader_;
  std::string pending_;  // read, not given out yet, from `begin_` on
  size_t begin_ = 0;
  bool at_end_ = false;
  int64_t line_ = 0;
};

}  // namespace attnlab
