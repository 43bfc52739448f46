#include "libs/report/sweep_tables.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/io/result_names.h"
#include "libs/report/tables.h"
#include "libs/report/text.h"

namespace attnlab {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

struct Place {
  std::string variant, method;  // "softpick", "gptq bits=4, on books"
  std::string pair;             // seed and draw
};

// The names of the calibration sets by row; empty where the sweep has but one.
std::vector<std::string> SetNames(const std::vector<Column>& columns, size_t rows) {
  std::vector<std::string> names(rows);
  const Column* column = FindColumn(columns, "calibration");
  if (column == nullptr || column->texts.size() != rows) return names;
  std::set<std::string> sets(column->texts.begin(), column->texts.end());
  sets.erase("");
  return sets.size() > 1 ? column->texts : names;
}

// Where each row of the sweep belongs; empty when texts are missing (a foreign file).
std::vector<Place> Places(const std::vector<Column>& columns) {
  const Column* texts[5];
  const char* const names[] = {"variant", "method", "settings", "seed", "draw"};
  for (size_t i = 0; i < 5; ++i) {
    texts[i] = FindColumn(columns, names[i]);
    if (texts[i] == nullptr || texts[i]->texts.empty()) return {};
  }
  const std::vector<std::string> sets = SetNames(columns, texts[0]->texts.size());
  std::vector<Place> places;
  for (size_t row = 0; row < texts[0]->texts.size(); ++row) {
    const auto text = [&](size_t i) { return texts[i]->texts[row]; };
    std::string method = text(1);
    if (!text(2).empty()) absl::StrAppend(&method, " ", text(2));
    if (!sets[row].empty()) absl::StrAppend(&method, ", on ", sets[row]);
    places.push_back({text(0), std::move(method), absl::StrCat(text(3), "/", text(4))});
  }
  return places;
}

// Distinct values in the order in which they come.
template <class Get>
std::vector<std::string> Distinct(const std::vector<Place>& places, Get get) {
  std::vector<std::string> values;
  for (const Place& place : places) {
    if (std::find(values.begin(), values.end(), get(place)) == values.end()) {
      values.push_back(get(place));
    }
  }
  return values;
}

// Of one score: by method and variant the values by pair.
using Values = std::map<std::pair<std::string, std::string>, std::map<std::string, double>>;

double Mean(const std::map<std::string, double>& values) {
  double sum = 0;
  for (const auto& [pair, value] : values) sum += value;
  return values.empty() ? kNone : sum / static_cast<double>(values.size());
}

// Differences `other` - `first` over the pairs that both have.
std::vector<double> Differences(const std::map<std::string, double>& first,
                                const std::map<std::string, double>& other) {
  std::vector<double> differences;
  for (const auto& [pair, value] : first) {
    if (const auto it = other.find(pair); it != other.end()) {
      differences.push_back(it->second - value);
    }
  }
  return differences;
}

std::string VerdictOf(const std::vector<double>& differences, bool higher_is_better,
                      const std::string& first, const std::string& other) {
  if (differences.empty()) return "not measured";
  const auto [low, high] = std::minmax_element(differences.begin(), differences.end());
  const std::string draws = differences.size() == 1 ? " (one draw)" : "";
  if (*low > 0) return (higher_is_better ? other : first) + draws;
  if (*high < 0) return (higher_is_better ? first : other) + draws;
  return "undecided";
}

std::string Range(const std::vector<double>& differences) {
  if (differences.size() < 2) return "–";
  const auto [low, high] = std::minmax_element(differences.begin(), differences.end());
  return absl::StrCat(FormatNumber(*low), " to ", FormatNumber(*high));
}

Table ScoreTable(const std::string& title, const Column& score, const std::vector<Place>& places) {
  const auto variants = Distinct(places, [](const Place& place) { return place.variant; });
  const auto methods = Distinct(places, [](const Place& place) { return place.method; });
  Values values;
  for (size_t row = 0; row < places.size(); ++row) {
    if (std::isnan(score.numbers[row])) continue;
    values[{places[row].method, places[row].variant}][places[row].pair] = score.numbers[row];
  }
  const bool higher = score.unit == "higher";
  Table table;
  table.title = title;
  table.caption = absl::StrCat(
      higher ? "Higher" : "Lower",
      " is better; means over calibration draws, each seed and draw a pair. Spread: the smallest "
      "and the largest difference of a pair. Less changed: which variant lost less against its own "
      "model as it was trained.");
  table.header = {"method"};
  for (const std::string& variant : variants) table.header.push_back(variant);
  for (size_t i = 1; i < variants.size(); ++i) {
    table.header.push_back(absl::StrCat(variants[i], " − ", variants[0]));
    table.header.push_back("spread");
    table.header.push_back("better");
    table.header.push_back("less changed");
  }
  for (const std::string& method : methods) {
    std::vector<Cell> row = {{method, "", false}};
    for (const std::string& variant : variants) {
      row.push_back({FormatNumber(Mean(values[{method, variant}])), "", false});
    }
    for (size_t i = 1; i < variants.size(); ++i) {
      const auto differences =
          Differences(values[{method, variants[0]}], values[{method, variants[i]}]);
      double mean = differences.empty() ? kNone : 0;
      for (const double difference : differences) {
        mean += difference / static_cast<double>(differences.size());
      }
      row.push_back({FormatNumber(mean), "", false});
      row.push_back({Range(differences), "", false});
      row.push_back({VerdictOf(differences, higher, variants[0], variants[i]), "", false});
      const double base = Mean(values[{names::kSweepBaseline, variants[i]}]) -
                          Mean(values[{names::kSweepBaseline, variants[0]}]);
      std::vector<double> changes = differences;
      for (double& change : changes) change -= base;
      row.push_back({method == names::kSweepBaseline || std::isnan(base)
                         ? "–"
                         : VerdictOf(changes, higher, variants[0], variants[i]),
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
    const std::vector<Place> places = Places(it->second);
    for (const Column& column : it->second) {
      const bool score = column.unit == "higher" || column.unit == "lower";
      if (!score || column.numbers.size() != places.size() || places.empty()) continue;
      tables.push_back(ScoreTable(column.name, column, places));
    }
  }
  return tables;
}

}  // namespace attnlab
