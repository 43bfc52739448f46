// Streams the bytes of a file, decompressed (.zst, .gz), and takes the SHA-256 of the file as it
// stands on disk on the way.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace attnlab {

class ByteReader {
 public:
  // The suffix decides: .zst (RFC 8878), .gz (RFC 1952), else the bytes as they are.
  static absl::StatusOr<std::unique_ptr<ByteReader>> Open(const std::string& path);
  virtual ~ByteReader() = default;

  // Up to `size` bytes into `out`; 0 at the end. DataLoss when the compressed data is broken or
  // ends early.
  virtual absl::StatusOr<size_t> Read(char* out, size_t size) = 0;

  virtual int64_t bytes_on_disk() const = 0;  // read so far
  virtual std::string Sha256Hex() = 0;        // of the whole file; call once, after the end
};

}  // namespace attnlab
