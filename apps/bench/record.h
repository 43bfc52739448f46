// results.h5 of a bench, which grows with its rows.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "apps/bench/measurement.h"
#include "libs/io/results.h"

namespace attnlab {

class BenchRecord {
 public:
  // With an empty `folder` nothing is written. AlreadyExists when it holds a results.h5.
  static absl::StatusOr<BenchRecord> Open(BenchKind kind, const std::string& folder,
                                          const Provenance& provenance);

  // A number of the device that the rows are held against.
  absl::Status Write(const std::string& name, const Metric& metric);
  // Adds rows to the table, which is on the disk then.
  absl::Status Add(const std::vector<Measurement>& rows);
  // `ok`: finished, else failed.
  absl::Status Finish(bool ok);

 private:
  explicit BenchRecord(BenchKind kind) : kind_(kind) {}

  BenchKind kind_;
  std::unique_ptr<ResultsWriter> writer_;  // null without a folder
  std::vector<Measurement> rows_;
};

}  // namespace attnlab
