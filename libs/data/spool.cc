#include "libs/data/spool.h"

#include <cerrno>

#include "libs/core/status.h"

namespace attnlab {

absl::StatusOr<std::unique_ptr<Spool>> Spool::Create(const std::string& path) {
  FILE* file = std::fopen(path.c_str(), "wbe");
  if (file == nullptr) return ErrnoStatus(errno, "create", path);
  return std::unique_ptr<Spool>(new Spool(path, file));
}

Spool::~Spool() {
  std::fclose(file_);
  std::remove(path_.c_str());
}

absl::Status Spool::Append(absl::Span<const int32_t> ids) {
  if (ids.empty()) return absl::OkStatus();
  if (std::fwrite(ids.data(), sizeof(int32_t), ids.size(), file_) != ids.size())
    return ErrnoStatus(errno, "write", path_);
  tokens_ += static_cast<int64_t>(ids.size());
  return absl::OkStatus();
}

absl::Status Spool::Map() {
  if (std::fflush(file_) != 0) return ErrnoStatus(errno, "write", path_);
  ATTNLAB_ASSIGN_OR_RETURN(map_, MappedFile::Open(path_));
  return absl::OkStatus();
}

absl::Span<const int32_t> Spool::Ids(const DocumentSpan& document) const {
  const auto* ids = reinterpret_cast<const int32_t*>(map_->bytes().data());
  return {ids + document.first, static_cast<size_t>(document.tokens)};
}

}  // namespace attnlab
