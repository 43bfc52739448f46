#include "libs/report/sweep_scores.h"

#include <cmath>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "libs/io/result_names.h"
#include "libs/report/tables.h"

namespace attnlab {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

// Without what rounding leaves of equal sums.
double Clean(double value) { return std::abs(value) < 1e-12 ? 0 : value; }

// Rows of a sweep, each with its weight in a difference.
using Weights = std::vector<std::pair<size_t, double>>;

// The names of the calibration sets by row; empty where the sweep has but one.
std::vector<std::string> SetNames(const std::vector<Column>& columns, size_t rows) {
  std::vector<std::string> names(rows);
  const Column* column = FindColumn(columns, "calibration");
  if (column == nullptr || column->texts.size() != rows) return names;
  std::set<std::string> sets(column->texts.begin(), column->texts.end());
  sets.erase("");
  return sets.size() > 1 ? column->texts : names;
}

// The documents of a score by row; empty when the record has none.
std::vector<const std::vector<double>*> Documents(const RunResults& results,
                                                  const std::string& score, size_t rows) {
  const auto table = results.tables.find(absl::StrCat(names::kSweepExamples, score));
  if (table == results.tables.end()) return {};
  std::vector<const std::vector<double>*> documents(rows, nullptr);
  for (size_t row = 0; row < rows; ++row) {
    const Column* column = FindColumn(table->second, absl::StrCat(row));
    if (column != nullptr && column->texts.empty()) documents[row] = &column->numbers;
  }
  return documents;
}

// The mean over the tasks of one metric.
SweepScore MeanOf(const std::string& metric, const std::vector<const SweepScore*>& tasks) {
  SweepScore mean;
  mean.higher_is_better = tasks[0]->higher_is_better;
  mean.values.resize(tasks[0]->values.size());
  std::vector<std::string> task_names;
  for (const SweepScore* task : tasks) {
    task_names.push_back(task->name.substr(0, task->name.rfind(' ')));
    mean.documents.push_back(task->documents[0]);
    for (size_t row = 0; row < mean.values.size(); ++row) {
      mean.values[row] += task->values[row] / static_cast<double>(tasks.size());
    }
  }
  mean.name = absl::StrCat("mean ", metric, " of ", absl::StrJoin(task_names, ", "));
  return mean;
}

// Rows by their pair.
std::map<std::string, size_t> RowsOf(const SweepScore& score, const std::vector<SweepPlace>& places,
                                     const std::string& method, const std::string& variant) {
  std::map<std::string, size_t> rows;
  for (size_t row = 0; row < places.size(); ++row) {
    const SweepPlace& place = places[row];
    if (place.method != method || place.variant != variant || std::isnan(score.values[row])) {
      continue;
    }
    rows[place.pair] = row;
  }
  return rows;
}

void AddMean(const std::map<std::string, size_t>& rows, double sign, Weights& weights) {
  for (const auto& [pair, row] : rows) {
    weights.emplace_back(row, sign / static_cast<double>(rows.size()));
  }
}

// s / sqrt(n) of the documents' weighted sums, with the sample standard deviation s; NaN when a row
// has no documents or has others.
double TaskError(const std::vector<const std::vector<double>*>& documents, const Weights& weights) {
  std::vector<double> sums;
  for (const auto& [row, weight] : weights) {
    const std::vector<double>* own = documents[row];
    if (own == nullptr || own->size() < 2) return kNone;
    if (sums.empty()) sums.resize(own->size());
    if (own->size() != sums.size()) return kNone;
    for (size_t i = 0; i < sums.size(); ++i) sums[i] += weight * (*own)[i];
  }
  const double n = static_cast<double>(sums.size());
  double mean = 0, squares = 0;
  for (const double sum : sums) mean += sum / n;
  for (const double sum : sums) squares += (sum - mean) * (sum - mean);
  return Clean(std::sqrt(squares / (n - 1) / n));
}

// Of the mean over tasks, which have no documents in common.
double StandardError(const SweepScore& score, const Weights& weights) {
  if (score.documents.empty() || weights.empty()) return kNone;
  double squares = 0;
  for (const auto& documents : score.documents) {
    const double error = TaskError(documents, weights);
    squares += error * error;
  }
  return std::sqrt(squares) / static_cast<double>(score.documents.size());
}

}  // namespace

std::vector<SweepPlace> SweepPlaces(const std::vector<Column>& columns) {
  const Column* texts[5];
  const char* const names[] = {"variant", "method", "settings", "seed", "draw"};
  for (size_t i = 0; i < 5; ++i) {
    texts[i] = FindColumn(columns, names[i]);
    if (texts[i] == nullptr || texts[i]->texts.empty()) return {};
  }
  const std::vector<std::string> sets = SetNames(columns, texts[0]->texts.size());
  std::vector<SweepPlace> places;
  for (size_t row = 0; row < texts[0]->texts.size(); ++row) {
    const auto text = [&](size_t i) { return texts[i]->texts[row]; };
    std::string method = text(1);
    if (!text(2).empty()) absl::StrAppend(&method, " ", text(2));
    if (!sets[row].empty()) absl::StrAppend(&method, ", on ", sets[row]);
    places.push_back({text(0), std::move(method), absl::StrCat(text(3), "/", text(4))});
  }
  return places;
}

std::vector<SweepScore> SweepScores(const RunResults& results) {
  std::vector<SweepScore> scores;
  const auto table = results.tables.find(names::kSweepTable);
  if (table == results.tables.end()) return scores;
  std::map<std::string, std::vector<size_t>> tasks;  // scores by metric
  for (const Column& column : table->second) {
    if (column.unit != "higher" && column.unit != "lower") continue;
    if (column.numbers.size() != table->second[0].size()) continue;
    SweepScore score{column.name, column.unit == "higher", column.numbers, {}};
    auto documents = Documents(results, column.name, column.numbers.size());
    if (!documents.empty()) {
      score.documents.push_back(std::move(documents));
      tasks[column.name.substr(column.name.rfind(' ') + 1)].push_back(scores.size());
    }
    scores.push_back(std::move(score));
  }
  for (const auto& [metric, members] : tasks) {
    if (members.size() < 2) continue;
    std::vector<const SweepScore*> parts;
    for (const size_t member : members) parts.push_back(&scores[member]);
    SweepScore mean = MeanOf(metric, parts);  // `parts` point into `scores`
    scores.push_back(std::move(mean));
  }
  return scores;
}

double MeanScore(const SweepScore& score, const std::vector<SweepPlace>& places,
                 const std::string& method, const std::string& variant) {
  double sum = 0, count = 0;
  for (const auto& [pair, row] : RowsOf(score, places, method, variant)) {
    sum += score.values[row];
    ++count;
  }
  return count > 0 ? sum / count : kNone;
}

SweepComparison Compare(const SweepScore& score, const std::vector<SweepPlace>& places,
                        const std::string& method, const std::string& first,
                        const std::string& other, bool changes) {
  std::map<std::string, size_t> firsts = RowsOf(score, places, method, first),
                                others = RowsOf(score, places, method, other);
  std::erase_if(firsts, [&](const auto& entry) { return !others.contains(entry.first); });
  std::erase_if(others, [&](const auto& entry) { return !firsts.contains(entry.first); });
  SweepComparison comparison;
  Weights base, weights;
  if (changes) {
    const auto base_firsts = RowsOf(score, places, names::kSweepBaseline, first),
               base_others = RowsOf(score, places, names::kSweepBaseline, other);
    if (base_firsts.empty() || base_others.empty()) return comparison;
    AddMean(base_others, -1, base);
    AddMean(base_firsts, 1, base);
  }
  double change = 0;
  for (const auto& [row, weight] : base) change += weight * score.values[row];
  for (const auto& [pair, row] : firsts) {
    comparison.differences.push_back(
        Clean(score.values[others.at(pair)] - score.values[row] + change));
  }
  if (firsts.empty()) return comparison;
  comparison.mean = 0;
  for (const double difference : comparison.differences) {
    comparison.mean += difference / static_cast<double>(comparison.differences.size());
  }
  weights = base;
  AddMean(others, 1, weights);
  AddMean(firsts, -1, weights);
  comparison.standard_error = StandardError(score, weights);
  return comparison;
}

}  // namespace attnlab
