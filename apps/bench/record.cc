#include "apps/bench/record.h"

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "libs/core/log.h"
#include "libs/core/status.h"
#include "libs/io/result_names.h"

namespace attnlab {
namespace {

const char* TableName(BenchKind kind) {
  return kind == BenchKind::kDecode ? names::kDecodeTable : names::kAttentionTable;
}

}  // namespace

absl::StatusOr<BenchRecord> BenchRecord::Open(BenchKind kind, const std::string& folder,
                                              const Provenance& provenance) {
  BenchRecord record(kind);
  if (folder.empty()) return record;
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return ErrnoStatus(error.value(), "cannot make the folder", folder);
  ATTNLAB_ASSIGN_OR_RETURN(record.writer_,
                           ResultsWriter::Create(absl::StrCat(folder, "/results.h5"),
                                                 {"bench", TableName(kind), ""}, provenance));
  return record;
}

absl::Status BenchRecord::Write(const std::string& name, const Metric& metric) {
  if (writer_ == nullptr) return absl::OkStatus();
  writer_->Write(name, metric);
  return writer_->Flush();
}

absl::Status BenchRecord::Add(const std::vector<Measurement>& rows) {
  rows_.insert(rows_.end(), rows.begin(), rows.end());
  if (writer_ == nullptr) return absl::OkStatus();
  writer_->WriteTable(TableName(kind_), ColumnsOf(kind_, rows_));
  return writer_->Flush();
}

absl::Status BenchRecord::Finish(bool ok) {
  if (writer_ == nullptr) return absl::OkStatus();
  LogInfo(absl::StrCat("results in ", writer_->path()));
  return writer_->Finish(ok ? "finished" : "failed");
}

}  // namespace attnlab
