// Files: whole reads and writes that are atomic, memory maps, SHA-256 of what a run read.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace attnlab {

absl::StatusOr<std::string> ReadFile(const std::string& path);

// Writes PATH.tmp, syncs it and renames it over `path`: after a crash `path` is the old file or the
// whole new one.
absl::Status WriteFileAtomically(const std::string& path, absl::string_view contents);
// The same of contents that lie in pieces.
absl::Status WriteFileAtomically(const std::string& path,
                                 absl::Span<const absl::string_view> pieces);

// Renames the finished folder `from` to `to` and syncs the folder that holds them.
absl::Status RenameDurably(const std::string& from, const std::string& to);

// A read-only memory map of a whole file; unmapped when it goes out of scope.
class MappedFile {
 public:
  static absl::StatusOr<std::unique_ptr<MappedFile>> Open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  absl::Span<const uint8_t> bytes() const { return {data_, size_}; }
  const std::string& path() const { return path_; }

 private:
  MappedFile(std::string path, const uint8_t* data, size_t size)
      : path_(std::move(path)), data_(data), size_(size) {}
  const std::string path_;
  const uint8_t* const data_;
  const size_t size_;
};

// Incremental SHA-256 (FIPS 180-4).
class Sha256 {
 public:
  Sha256();
  void Update(absl::Span<const uint8_t> bytes);
  std::string Hex();  // ends the digest: 64 lower-case hexadecimal digits

 private:
  struct FreeContext {
    void operator()(void* context) const;
  };
  std::unique_ptr<void, FreeContext> context_;  // EVP_MD_CTX
};

absl::StatusOr<std::string> Sha256OfFile(const std::string& path);

}  // namespace attnlab
