#include "libs/report/run_set.h"

#include <algorithm>
#include <filesystem>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/core/status.h"

namespace attnlab {
namespace {

// Labels of the groups: the variant where it tells them apart, else the name, else both.
std::vector<std::string> GroupLabels(const std::vector<const RunInfo*>& infos) {
  std::set<std::string> variants, names;
  for (const RunInfo* info : infos) {
    variants.insert(info->variant);
    names.insert(info->name);
  }
  std::vector<std::string> labels;
  for (const RunInfo* info : infos) {
    if (variants.size() == infos.size() && !info->variant.empty()) {
      labels.push_back(info->variant);
    } else if (names.size() == infos.size() || info->variant.empty()) {
      labels.push_back(info->name);
    } else {
      labels.push_back(absl::StrCat(info->name, ", ", info->variant));
    }
  }
  return labels;
}

// Seeds where they tell the runs of a group apart, else their paths.
void LabelRuns(const RunGroup& group, std::vector<ReportRun>& runs) {
  std::set<int64_t> seeds;
  for (const size_t i : group.runs) seeds.insert(runs[i].results.provenance.seed);
  for (const size_t i : group.runs) {
    ReportRun& run = runs[i];
    run.color = group.color;
    run.label = group.label;
    if (group.runs.size() > 1)
      absl::StrAppend(&run.label, ", ",
                      seeds.size() == group.runs.size()
                          ? absl::StrCat("seed ", run.results.provenance.seed)
                          : run.path);
  }
}

// `path`, or the runs in it where it is the folder of a sweep; in order of their names.
std::vector<std::string> RunsIn(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code error;
  std::vector<std::string> runs;
  if (!fs::exists(path + "/results.h5", error)) {
    for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
      if (fs::exists(it->path() / "results.h5", error)) runs.push_back(it->path().string());
    }
  }
  if (runs.empty()) return {path};
  std::sort(runs.begin(), runs.end());
  return runs;
}

}  // namespace

std::string GroupColor(size_t index) {
  static constexpr const char* kColors[] = {"#1f5fa8", "#d1570b", "#609898",
                                            "#671c25", "#2f0ae5", "#521f51"};
  return kColors[index % std::size(kColors)];
}

absl::StatusOr<RunSet> LoadRuns(const std::vector<std::string>& paths) {
  std::vector<std::pair<std::pair<std::string, std::string>, std::vector<ReportRun>>> groups;
  std::vector<std::string> runs;
  for (const std::string& path : paths) {
    for (std::string& run : RunsIn(path)) runs.push_back(std::move(run));
  }
  for (const std::string& path : runs) {
    ATTNLAB_ASSIGN_OR_RETURN(RunResults results, ReadResults(path));
    const std::pair key(results.info.name, results.info.variant);
    auto it = std::find_if(groups.begin(), groups.end(),
                           [&](const auto& group) { return group.first == key; });
    if (it == groups.end()) it = groups.insert(groups.end(), {key, {}});
    it->second.push_back({std::move(results), path, "", ""});
  }
  RunSet set;
  std::vector<const RunInfo*> infos;
  for (const auto& [key, runs] : groups) infos.push_back(&runs[0].results.info);
  const std::vector<std::string> labels = GroupLabels(infos);
  for (size_t g = 0; g < groups.size(); ++g) {
    RunGroup group{labels[g], GroupColor(g), {}};
    for (ReportRun& run : groups[g].second) {
      group.runs.push_back(set.runs.size());
      set.runs.push_back(std::move(run));
    }
    LabelRuns(group, set.runs);
    set.groups.push_back(std::move(group));
  }
  return set;
}

}  // namespace attnlab
