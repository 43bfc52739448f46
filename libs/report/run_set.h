// The runs of a report: read, grouped by what they share (name and variant; a group's runs differ
// in the seed), labelled and coloured.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/io/results.h"

namespace attnlab {

struct ReportRun {
  RunResults results;
  std::string path;   // as given
  std::string label;  // unique in the report
  std::string color;  // of its group
};

struct RunGroup {
  std::string label, color;
  std::vector<size_t> runs;  // indices into RunSet::runs
};

struct RunSet {
  std::vector<ReportRun> runs;  // those of a group side by side
  std::vector<RunGroup> groups;
};

// The colour of group `index`. The six are told apart with normal and with red- or green-blind
// sight (distance in CIELAB at least 27 between any two, also as simulated by Machado et al. 2009)
// and have a contrast of at least 3.2 to white.
std::string GroupColor(size_t index);

// Reads results.h5 files, or folders that hold one; of a folder that holds none (a sweep) the
// results.h5 of each folder in it.
absl::StatusOr<RunSet> LoadRuns(const std::vector<std::string>& paths);

}  // namespace attnlab
