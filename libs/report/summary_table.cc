// The table at the head of a report: the numbers that runs are compared by.
#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "libs/io/result_names.h"
#include "libs/report/tables.h"
#include "libs/report/text.h"

namespace attnlab {
namespace {

struct SummaryColumn {
  std::string header, unit;
  std::function<std::optional<double>(const RunResults&)> value;
};

std::optional<double> MetricValue(const RunResults& results, const std::string& name) {
  const auto it = results.metrics.find(name);
  return it == results.metrics.end() ? std::nullopt : std::optional(it->second.value);
}

std::optional<double> LastOf(const RunResults& results, const std::string& name) {
  const auto it = results.series.find(name);
  if (it == results.series.end() || it->second.values.empty()) return std::nullopt;
  return it->second.values.back();
}

// The metric, or where a run has none the last value of the series of that name.
SummaryColumn SummaryOf(const std::string& name, const std::string& unit) {
  return {ShortTitle(name), unit, [name](const RunResults& results) {
            const auto metric = MetricValue(results, name);
            return metric ? metric : LastOf(results, name);
          }};
}

// The largest T among metrics PREFIX_T<number>, 0 when there are none.
int64_t LongestT(const RunSet& set, const std::string& prefix) {
  int64_t longest = 0;
  for (const ReportRun& run : set.runs) {
    for (const auto& [name, metric] : run.results.metrics) {
      int64_t length = 0;
      if (absl::StartsWith(name, prefix + "_T") &&
          absl::SimpleAtoi(name.substr(prefix.size() + 2), &length))
        longest = std::max(longest, length);
    }
  }
  return longest;
}

std::vector<SummaryColumn> SummaryColumns(const RunSet& set) {
  const auto sink_rate = [&](const std::string& eps) {
    const std::string prefix = absl::StrCat(names::kSinkRate, "_", eps);
    return SummaryOf(absl::StrCat(prefix, "_T", LongestT(set, prefix)), "fraction");
  };
  std::vector<SummaryColumn> columns = {SummaryOf(names::kFinalLoss, "nats"),
                                        SummaryOf(names::kBackcopyLoss, "nats"),
                                        SummaryOf(names::kBigramLoss, "nats"),
                                        SummaryOf(names::kPerplexity, ""),
                                        SummaryOf(names::kBitsPerByte, ""),
                                        SummaryOf(names::kBosAttention, "fraction"),
                                        sink_rate("0.2"),
                                        sink_rate("0.3"),
                                        SummaryOf(names::kFirstKeyMass, "fraction"),
                                        SummaryOf(names::kBosValueNorm, "ratio"),
                                        SummaryOf("kurtosis_pooled", ""),
                                        SummaryOf(names::kActivationMin, ""),
                                        SummaryOf(names::kActivationMax, ""),
                                        SummaryOf(names::kZeroShare, "fraction"),
                                        SummaryOf("dead_heads_1e-06", "fraction")};
  columns.erase(std::remove_if(columns.begin(), columns.end(),
                               [&](const SummaryColumn& column) {
                                 return std::none_of(set.runs.begin(), set.runs.end(),
                                                     [&](const ReportRun& run) {
                                                       return column.value(run.results).has_value();
                                                     });
                               }),
                columns.end());
  return columns;
}

// The mean of those runs of `group` that have the value, with their range as a note.
Cell MeanAndRange(const SummaryColumn& column, const RunSet& set, const RunGroup& group) {
  std::vector<double> values;
  for (const size_t i : group.runs) {
    if (const auto value = column.value(set.runs[i].results)) values.push_back(*value);
  }
  if (values.empty()) return {};
  double sum = 0;
  for (const double value : values) sum += value;
  const double mean = sum / static_cast<double>(values.size());
  return {FormatNumber(mean, column.unit), "", false, FormatRange(values, column.unit)};
}

std::string StatusNote(const RunResults& results) {
  return results.status == "finished" ? "" : absl::StrCat(" (", results.status, ")");
}

}  // namespace

Table SummaryTable(const RunSet& set) {
  const std::vector<SummaryColumn> columns = SummaryColumns(set);
  Table table;
  if (columns.empty()) return table;
  table.header = {"run"};
  for (const SummaryColumn& column : columns) table.header.push_back(column.header);
  for (const RunGroup& group : set.groups) {
    if (group.runs.size() > 1) {
      std::vector<Cell> row = {
          {absl::StrCat(group.label, ", mean of ", group.runs.size()), group.color, true, "range"}};
      for (const SummaryColumn& column : columns) row.push_back(MeanAndRange(column, set, group));
      table.rows.push_back(std::move(row));
    }
    for (const size_t i : group.runs) {
      const ReportRun& run = set.runs[i];
      std::vector<Cell> row = {{run.label + StatusNote(run.results), run.color, false}};
      for (const SummaryColumn& column : columns) {
        const auto value = column.value(run.results);
        row.push_back({value ? FormatNumber(*value, column.unit) : "", "", false});
      }
      table.rows.push_back(std::move(row));
    }
  }
  return table;
}

}  // namespace attnlab
