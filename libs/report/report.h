// The report of some runs: report.md with tables and report.html, one page with tables and plots
// that needs no network and no script. Reads nothing but results.h5,
// the bars of an experiment and published figures.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/report/bars.h"
#include "libs/report/document.h"
#include "libs/report/published.h"
#include "libs/report/run_set.h"

namespace attnlab {

struct WrittenReport {
  std::string markdown, html;  // paths
  std::vector<Verdict> verdicts;
};

// `runs` as LoadRuns takes them; `bars` is a bars.toml to judge them by, or ""; `out` is a folder
// and is made; `published` is a file of figures to stand beside a sweep's, or "". The same runs,
// bars and figures give the same files.
absl::StatusOr<WrittenReport> WriteReport(const std::vector<std::string>& runs,
                                          const std::string& bars, const std::string& out,
                                          const std::string& published = "");

// What the report of `set` says; sections of which no run has anything are empty.
Document MakeDocument(const RunSet& set, const std::vector<Verdict>& verdicts,
                      const Published& published = {});

}  // namespace attnlab
