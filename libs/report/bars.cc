#include "libs/report/bars.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "libs/core/status.h"
#include "libs/recipe/recipe.h"

namespace attnlab {
namespace {

constexpr char kHeld[] = "held", kMissed[] = "missed", kNotMeasured[] = "not measured";
constexpr char kHeads[] = "attention:", kSeries[] = "series:";

struct BarsFile {
  Bars bars;
  template <class Visitor>
  void ForEach(Visitor&& visit) {
    visit("bar", bars, "the bars by their ids");
  }
};

absl::Status CheckBar(const Bar& bar) {
  const bool heads = absl::StartsWith(bar.metric, kHeads);
  const bool known = bar.reduce == "max" || bar.reduce == "min" || bar.reduce == "mean";
  const char* error = nullptr;
  if (bar.run.empty()) {
    error = "run is missing: an attention variant, or the name of a recipe";
  } else if (bar.metric.empty()) {
    error = "metric is missing: NAME, attention:NAME or series:NAME";
  } else if (!bar.minus.empty() && !bar.ratio_to.empty()) {
    error = "minus and ratio_to exclude each other";
  } else if (heads && !known) {
    error = "a metric of the heads needs reduce = \"max\", \"min\" or \"mean\"";
  } else if (!heads && !bar.reduce.empty()) {
    error = "reduce is for metrics of the heads, attention:NAME";
  } else if (std::isnan(bar.at_least) && std::isnan(bar.at_most) && std::isnan(bar.within)) {
    error = "a bound is missing: at_least, at_most or within";
  }
  return error == nullptr ? absl::OkStatus() : absl::InvalidArgumentError(error);
}

// NaN anywhere gives NaN.
double Reduce(const std::vector<double>& values, const std::string& how) {
  if (std::any_of(values.begin(), values.end(), [](double x) { return std::isnan(x); })) return NAN;
  if (how == "max") return *std::max_element(values.begin(), values.end());
  if (how == "min") return *std::min_element(values.begin(), values.end());
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

std::optional<double> Measure(const Bar& bar, const RunResults& results) {
  absl::string_view name = bar.metric;
  if (absl::ConsumePrefix(&name, kHeads)) {
    const auto it = results.attention.find(std::string(name));
    if (it == results.attention.end() || it->second.Present().empty()) return std::nullopt;
    return Reduce(it->second.Present(), bar.reduce);
  }
  if (absl::ConsumePrefix(&name, kSeries)) {
    const auto it = results.series.find(std::string(name));
    if (it == results.series.end() || it->second.values.empty()) return std::nullopt;
    return it->second.values.back();
  }
  const auto it = results.metrics.find(bar.metric);
  if (it == results.metrics.end()) return std::nullopt;
  return it->second.value;
}

std::vector<const ReportRun*> RunsOf(const std::string& name, const RunSet& set) {
  std::vector<const ReportRun*> runs;
  for (const ReportRun& run : set.runs) {
    const RunInfo& info = run.results.info;
    if (run.results.status == "finished" && (info.variant == name || info.name == name))
      runs.push_back(&run);
  }
  return runs;
}

// The runs of `others` that `run` is compared with.
std::vector<const ReportRun*> PartnersOf(const ReportRun& run,
                                         std::vector<const ReportRun*> others) {
  const auto keep = [&](auto same) {
    others.erase(std::remove_if(others.begin(), others.end(), std::not_fn(same)), others.end());
  };
  const auto same_recipe = [&](const ReportRun* other) {
    return other->results.info.name == run.results.info.name;
  };
  keep([&](const ReportRun* other) {
    return other->results.provenance.seed == run.results.provenance.seed;
  });
  if (std::any_of(others.begin(), others.end(), same_recipe)) keep(same_recipe);
  return others;
}

// One value a run or pair of runs, nothing where one lacks the metric.
std::vector<std::optional<double>> MeasureAll(const Bar& bar, const RunSet& set) {
  const std::string& other_name = bar.minus.empty() ? bar.ratio_to : bar.minus;
  std::vector<std::optional<double>> values;
  for (const ReportRun* run : RunsOf(bar.run, set)) {
    const std::optional<double> own = Measure(bar, run->results);
    if (other_name.empty()) {
      values.push_back(own);
      continue;
    }
    const std::vector<const ReportRun*> partners = PartnersOf(*run, RunsOf(other_name, set));
    if (partners.empty()) values.push_back(std::nullopt);
    for (const ReportRun* partner : partners) {
      const std::optional<double> other = Measure(bar, partner->results);
      if (!own || !other) {
        values.push_back(std::nullopt);
      } else {
        values.push_back(bar.minus.empty() ? *own / *other : *own - *other);
      }
    }
  }
  return values;
}

bool Reaches(double value, const Bar& bar) {
  return !std::isnan(value) && (std::isnan(bar.at_least) || value >= bar.at_least) &&
         (std::isnan(bar.at_most) || value <= bar.at_most) &&
         (std::isnan(bar.within) || std::abs(value) <= bar.within);
}

std::string Bounds(const Bar& bar) {
  std::vector<std::string> bounds;
  if (!std::isnan(bar.at_least)) bounds.push_back(absl::StrCat("≥ ", bar.at_least));
  if (!std::isnan(bar.at_most)) bounds.push_back(absl::StrCat("≤ ", bar.at_most));
  if (!std::isnan(bar.within)) bounds.push_back(absl::StrCat("0 ± ", bar.within));
  return absl::StrJoin(bounds, ", ");
}

Verdict Judge(const std::string& id, const Bar& bar, const RunSet& set) {
  Verdict verdict;
  verdict.id = id;
  verdict.run = absl::StrCat(bar.run, !bar.minus.empty()      ? absl::StrCat(" − ", bar.minus)
                                      : !bar.ratio_to.empty() ? absl::StrCat(" / ", bar.ratio_to)
                                                              : "");
  const std::vector<const ReportRun*> runs = RunsOf(bar.run, set);
  if (!runs.empty()) verdict.color = runs[0]->color;
  verdict.claim.statement = bar.statement;
  verdict.claim.source = bar.source;
  verdict.claim.paper = bar.paper;
  verdict.claim.tolerance = Bounds(bar);
  const std::vector<std::optional<double>> values = MeasureAll(bar, set);
  for (const std::optional<double>& value : values) {
    if (value) verdict.measurements.push_back(*value);
  }
  const std::vector<double>& measured = verdict.measurements;
  const bool reached = std::all_of(measured.begin(), measured.end(),
                                   [&](double value) { return Reaches(value, bar); });
  verdict.claim.measured = measured.empty() ? NAN : Reduce(measured, "mean");
  verdict.claim.verdict = !reached                                              ? kMissed
                          : measured.empty() || measured.size() < values.size() ? kNotMeasured
                                                                                : kHeld;
  return verdict;
}

}  // namespace

absl::StatusOr<Bars> LoadBars(const std::string& path) {
  ATTNLAB_ASSIGN_OR_RETURN(const Recipe recipe, Recipe::Load(path));
  BarsFile file;
  ATTNLAB_RETURN_IF_ERROR(recipe.Read(file));
  if (file.bars.empty())
    return absl::InvalidArgumentError(absl::StrCat(path, ": no bars; a bar is a table [bar.ID]"));
  for (const auto& [id, bar] : file.bars) {
    ATTNLAB_RETURN_IF_ERROR(Annotate(CheckBar(bar), absl::StrCat(path, ": bar.", id)));
  }
  return std::move(file.bars);
}

std::vector<Verdict> JudgeBars(const Bars& bars, const RunSet& set) {
  std::vector<Verdict> verdicts;
  for (const auto& [id, bar] : bars) verdicts.push_back(Judge(id, bar, set));
  return verdicts;
}

absl::Status AllHeld(const std::vector<Verdict>& verdicts) {
  const auto count = [&](const char* what) {
    return std::count_if(verdicts.begin(), verdicts.end(),
                         [&](const Verdict& verdict) { return verdict.claim.verdict == what; });
  };
  if (count(kHeld) == static_cast<int64_t>(verdicts.size())) return absl::OkStatus();
  return absl::AbortedError(absl::StrCat("of ", verdicts.size(), " bars ", count(kMissed),
                                         " missed and ", count(kNotMeasured), " not measured"));
}

}  // namespace attnlab
