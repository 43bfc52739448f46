// ResultsWriter: the record in memory, and when it reaches the disk.
#include "libs/io/results.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "libs/core/check.h"
#include "libs/core/files.h"
#include "libs/core/status.h"

namespace attnlab {
namespace {

int64_t Size(size_t size) { return static_cast<int64_t>(size); }

std::string NowUtc() {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", absl::Now(), absl::UTCTimeZone());
}

absl::Status AlreadyThere(const std::string& path, absl::string_view what) {
  return absl::AlreadyExistsError(absl::StrCat(path, " ", what));
}

}  // namespace

absl::StatusOr<std::unique_ptr<ResultsWriter>> ResultsWriter::Create(const std::string& path,
                                                                     const RunInfo& info,
                                                                     const Provenance& provenance) {
  if (std::filesystem::exists(path)) {
    const auto old = ReadResults(path);
    if (old.ok() && old->status == "running")
      return AlreadyThere(path,
                          "holds a run that has not finished: go on with it by --resume, or "
                          "name another folder by --out");
    return AlreadyThere(path, old.ok() ? "holds a finished run, which is not overwritten: name "
                                         "another folder by --out, or move this one away"
                                       : "exists and cannot be read: name another folder by --out, "
                                         "or move this one away");
  }
  RunResults results;
  results.info = info;
  results.provenance = provenance;
  results.created_utc = NowUtc();
  results.status = "running";
  std::unique_ptr<ResultsWriter> writer(new ResultsWriter(path, std::move(results)));
  ATTNLAB_RETURN_IF_ERROR(writer->Flush());
  return writer;
}

absl::StatusOr<std::unique_ptr<ResultsWriter>> ResultsWriter::Reopen(const std::string& path,
                                                                     int64_t keep_steps_up_to) {
  ATTNLAB_ASSIGN_OR_RETURN(RunResults results, ReadResults(path));
  if (results.status == "finished")
    return AlreadyThere(path, "holds a finished run: there is nothing to resume");
  results.status = "running";
  results.finished_utc.clear();
  for (auto& [name, series] : results.series) {
    const auto end = std::upper_bound(series.steps.begin(), series.steps.end(), keep_steps_up_to);
    series.values.resize(end - series.steps.begin());
    series.steps.erase(end, series.steps.end());
  }
  return std::unique_ptr<ResultsWriter>(new ResultsWriter(path, std::move(results)));
}

absl::StatusOr<std::unique_ptr<ResultsWriter>> ResultsWriter::Amend(const std::string& path) {
  ATTNLAB_ASSIGN_OR_RETURN(RunResults results, ReadResults(path));
  return std::unique_ptr<ResultsWriter>(new ResultsWriter(path, std::move(results)));
}

void ResultsWriter::Declare(const std::string& name, const SeriesInfo& info) {
  results_.series[name].info = info;
  changed_ = true;
}

void ResultsWriter::Append(const std::string& name, int64_t step, double value) {
  Series& series = results_.series[name];
  ATTNLAB_CHECK(series.steps.empty() || step >= series.steps.back(), name);
  series.steps.push_back(step);
  series.values.push_back(value);
  changed_ = true;
}

void ResultsWriter::Write(const std::string& name, const Metric& metric) {
  results_.metrics[name] = metric;
  changed_ = true;
}

void ResultsWriter::Write(const EvalScore& score) {
  results_.evals[absl::StrCat(score.task, " ", score.metric)] = score;
  changed_ = true;
}

void ResultsWriter::Write(const std::string& name, const Histogram& histogram) {
  ATTNLAB_CHECK(histogram.edges.size() == histogram.counts.size() + 1, name);
  results_.histograms[name] = histogram;
  changed_ = true;
}

void ResultsWriter::Write(const std::string& name, const HeadMetric& metric) {
  ATTNLAB_CHECK(Size(metric.values.size()) == metric.layers * metric.heads, name);
  results_.attention[name] = metric;
  changed_ = true;
}

void ResultsWriter::Write(const std::string& name, const LayerProfile& profile) {
  results_.layers[name] = profile;
  changed_ = true;
}

void ResultsWriter::Write(const std::string& name, const AttentionMap& map) {
  ATTNLAB_CHECK(Size(map.values.size()) == map.rows * map.cols, name);
  ATTNLAB_CHECK(map.tokens.empty() || Size(map.tokens.size()) == map.cols, name);
  results_.maps[name] = map;
  changed_ = true;
}

void ResultsWriter::Write(const std::string& name, const std::vector<Box>& boxes) {
  results_.boxes[name] = boxes;
  changed_ = true;
}

void ResultsWriter::Write(const std::string& id, const Claim& claim) {
  results_.claims[id] = claim;
  changed_ = true;
}

void ResultsWriter::WriteTable(const std::string& name, const std::vector<Column>& columns) {
  for (const Column& column : columns)
    ATTNLAB_CHECK(column.size() == columns[0].size(), column.name);
  results_.tables[name] = columns;
  changed_ = true;
}

absl::Status ResultsWriter::Flush() {
  if (!changed_) return absl::OkStatus();
  ATTNLAB_ASSIGN_OR_RETURN(const std::string image, SerializeResults(results_));
  ATTNLAB_RETURN_IF_ERROR(WriteFileAtomically(path_, image));
  changed_ = false;
  return absl::OkStatus();
}

absl::Status ResultsWriter::Finish(const std::string& status) {
  results_.status = status;
  results_.finished_utc = NowUtc();
  changed_ = true;
  return Flush();
}

}  // namespace attnlab
