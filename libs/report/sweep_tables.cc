#include "libs/report/sweep_tables.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/io/result_names.h"
#include "libs/report/sweep_scores.h"
#include "libs/report/text.h"

namespace attnlab {
namespace {

// A difference of at most so many standard errors decides nothing.
constexpr double kDecisive = 2;

// Distinct values in the order in which they come.
std::vector<std::string> Distinct(const std::vector<SweepPlace>& places,
                                  std::string SweepPlace::*field) {
  std::vector<std::string> values;
  for (const SweepPlace& place : places) {
    if (std::find(values.begin(), values.end(), place.*field) == values.end()) {
      values.push_back(place.*field);
    }
  }
  return values;
}

std::string VerdictOf(const SweepComparison& comparison, bool higher_is_better,
                      const std::string& first, const std::string& other) {
  const std::vector<double>& differences = comparison.differences;
  if (differences.empty()) return "not measured";
  if (std::abs(comparison.mean) <= kDecisive * comparison.standard_error) return "undecided";
  const auto [low, high] = std::minmax_element(differences.begin(), differences.end());
  const std::string draws = differences.size() == 1 ? " (one draw)" : "";
  if (*low > 0) return (higher_is_better ? other : first) + draws;
  if (*high < 0) return (higher_is_better ? first : other) + draws;
  return "undecided";
}

std::string Difference(const SweepComparison& comparison) {
  const std::string mean = FormatNumber(comparison.mean);
  if (std::isnan(comparison.standard_error)) return mean;
  return absl::StrCat(mean, " ± ", FormatNumber(comparison.standard_error));
}

std::string Range(const std::vector<double>& differences) {
  if (differences.size() < 2) return "–";
  const auto [low, high] = std::minmax_element(differences.begin(), differences.end());
  return absl::StrCat(FormatNumber(*low), " to ", FormatNumber(*high));
}

std::string Caption(const SweepScore& score) {
  std::string caption = absl::StrCat(
      score.higher_is_better ? "Higher" : "Lower",
      " is better; means over calibration draws, each seed and draw a pair. Spread: the smallest "
      "and the largest difference of a pair. Less changed: which variant lost less against its own "
      "model as it was trained.");
  if (!score.documents.empty()) {
    absl::StrAppend(&caption,
                    " ±: standard error over the documents, which are the same for all models; a "
                    "difference of at most two of them is undecided.");
  }
  return caption;
}

Table ScoreTable(const SweepScore& score, const std::vector<SweepPlace>& places) {
  const std::vector<std::string> variants = Distinct(places, &SweepPlace::variant);
  const bool higher = score.higher_is_better;
  Table table;
  table.title = score.name;
  table.caption = Caption(score);
  table.header = {"method"};
  for (const std::string& variant : variants) table.header.push_back(variant);
  for (size_t i = 1; i < variants.size(); ++i) {
    table.header.push_back(absl::StrCat(variants[i], " − ", variants[0]));
    table.header.push_back("spread");
    table.header.push_back("better");
    table.header.push_back("less changed");
  }
  for (const std::string& method : Distinct(places, &SweepPlace::method)) {
    std::vector<Cell> row = {{method, "", false}};
    for (const std::string& variant : variants) {
      row.push_back({FormatNumber(MeanScore(score, places, method, variant)), "", false});
    }
    for (size_t i = 1; i < variants.size(); ++i) {
      const auto own = Compare(score, places, method, variants[0], variants[i], false),
                 change = Compare(score, places, method, variants[0], variants[i], true);
      const bool base = method == names::kSweepBaseline;
      row.push_back({Difference(own), "", false});
      row.push_back({Range(own.differences), "", false});
      row.push_back({VerdictOf(own, higher, variants[0], variants[i]), "", false});
      row.push_back({base || change.differences.empty()
                         ? "–"
                         : VerdictOf(change, higher, variants[0], variants[i]),
                     "", false});
    }
    table.rows.push_back(std::move(row));
  }
  return table;
}

}  // namespace

std::vector<Table> SweepTables(const RunSet& set) {
  std::vector<Table> tables;
  for (const ReportRun& run : set.runs) {
    const auto it = run.results.tables.find(names::kSweepTable);
    if (it == run.results.tables.end()) continue;
    const std::vector<SweepPlace> places = SweepPlaces(it->second);
    if (places.empty()) continue;
    for (const SweepScore& score : SweepScores(run.results)) {
      tables.push_back(ScoreTable(score, places));
    }
  }
  return tables;
}

}  // namespace attnlab
