// The report of some runs: report.md with tables and report.html, one page with tables and plots
// that needs no network and no script. Reads nothing but results.h5.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/report/document.h"
#include "libs/report/run_set.h"

namespace attnlab {

struct ReportPaths {
  std::string markdown, html;
};

// `runs` are results.h5 files or folders that hold one; `out` is a folder and is made. The same
// runs give the same files.
absl::StatusOr<ReportPaths> WriteReport(const std::vector<std::string>& runs,
                                        const std::string& out);

// What the report of `set` says; sections of which no run has anything are empty.
Document MakeDocument(const RunSet& set);

}  // namespace attnlab
