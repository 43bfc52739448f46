// The ids of documents in the order in which they were read, in a temporary file, until the order
// in which they are written is drawn.
#pragma once

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "libs/core/files.h"

namespace attnlab {

struct DocumentSpan {
  int64_t first = 0, tokens = 0;  // in the spool
  int64_t text_bytes = 0;
  bool held_out = false;
};

class Spool {
 public:
  static absl::StatusOr<std::unique_ptr<Spool>> Create(const std::string& path);
  ~Spool();  // removes the file
  Spool(const Spool&) = delete;
  Spool& operator=(const Spool&) = delete;

  absl::Status Append(absl::Span<const int32_t> ids);
  int64_t tokens() const { return tokens_; }

  // After the last Append: makes Ids possible.
  absl::Status Map();
  absl::Span<const int32_t> Ids(const DocumentSpan& document) const;

 private:
  Spool(std::string path, FILE* file) : path_(std::move(path)), file_(file) {}
  const std::string path_;
  FILE* const file_;
  int64_t tokens_ = 0;
  std::unique_ptr<MappedFile> map_;
};

}  // namespace attnlab
