#include "libs/report/published.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/core/status.h"
#include "libs/io/result_names.h"
#include "libs/recipe/recipe.h"
#include "libs/report/sweep_scores.h"
#include "libs/report/text.h"

namespace attnlab {
namespace {

struct PublishedFile {
  Published tables;
  template <class Visitor>
  void ForEach(Visitor&& visit) {
    visit("table", tables, "the tables by their ids");
  }
};

absl::Status Check(const PublishedTable& table) {
  if (table.variants.size() < 2) {
    return absl::InvalidArgumentError("variants: name at least two");
  }
  for (const auto& [name, row] : table.rows) {
    if (row.score.empty() || row.method.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("row \"", name, "\": score and method say what it is compared with"));
    }
    if (row.values.size() != table.variants.size()) {
      return absl::InvalidArgumentError(absl::StrCat("row \"", name, "\": ", row.values.size(),
                                                     " values for ", table.variants.size(),
                                                     " variants"));
    }
  }
  return absl::OkStatus();
}

struct Sweep {
  std::vector<SweepPlace> places;
  std::vector<SweepScore> scores;
};

std::vector<Sweep> SweepsOf(const RunSet& set) {
  std::vector<Sweep> sweeps;
  for (const ReportRun& run : set.runs) {
    const auto it = run.results.tables.find(names::kSweepTable);
    if (it == run.results.tables.end()) continue;
    sweeps.push_back({SweepPlaces(it->second), SweepScores(run.results)});
  }
  return sweeps;
}

// The sweeps' figures for `row`, NaN where none has one.
std::vector<double> Measured(const PublishedRow& row, const std::vector<std::string>& variants,
                             const std::vector<Sweep>& sweeps) {
  std::vector<double> values(variants.size(), NAN);
  for (const Sweep& sweep : sweeps) {
    for (const SweepScore& score : sweep.scores) {
      if (score.name != row.score) continue;
      for (size_t i = 0; i < variants.size(); ++i) {
        if (!std::isnan(values[i])) continue;
        values[i] = MeanScore(score, sweep.places, row.method, variants[i]);
      }
    }
  }
  return values;
}

// Figures of the variants, and the last less the first.
double AddFigures(const std::vector<double>& values, std::vector<Cell>& row) {
  for (const double value : values) row.push_back({FormatNumber(value), "", false});
  const double difference = values.back() - values.front();
  row.push_back({FormatNumber(difference), "", false});
  return difference;
}

std::string SameSign(double published, double measured) {
  if (std::isnan(measured)) return "not measured";
  if (published == 0 || measured == 0) return "–";
  return (published > 0) == (measured > 0) ? "yes" : "no";
}

}  // namespace

absl::StatusOr<Published> LoadPublished(const std::string& path) {
  ATTNLAB_ASSIGN_OR_RETURN(const Recipe recipe, Recipe::Load(path));
  PublishedFile file;
  ATTNLAB_RETURN_IF_ERROR(recipe.Read(file));
  if (file.tables.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": no published figures; they stand in tables [table.ID]"));
  }
  for (const auto& [id, table] : file.tables) {
    ATTNLAB_RETURN_IF_ERROR(Annotate(Check(table), absl::StrCat(path, ": table.", id)));
  }
  return std::move(file.tables);
}

std::vector<Table> PublishedTables(const Published& published, const RunSet& set) {
  const std::vector<Sweep> sweeps = SweepsOf(set);
  std::vector<Table> tables;
  if (sweeps.empty()) return tables;
  for (const auto& [id, from] : published) {
    Table& table = tables.emplace_back();
    table.title = from.title;
    table.caption = absl::StrCat(from.note, from.note.empty() ? "" : " ",
                                 "Ours: means over seeds and calibration draws.");
    const std::string difference = absl::StrCat(from.variants.back(), " − ", from.variants.front());
    table.header = {""};
    for (const char* whose : {"published ", "ours: "}) {
      for (const std::string& variant : from.variants) {
        table.header.push_back(absl::StrCat(whose, variant));
      }
      table.header.push_back(difference);
    }
    table.header.push_back("same sign");
    for (const auto& [name, figures] : from.rows) {
      std::vector<Cell> row = {{name, "", false}};
      const double theirs = AddFigures(figures.values, row);
      const double ours = AddFigures(Measured(figures, from.variants, sweeps), row);
      row.push_back({SameSign(theirs, ours), "", false});
      table.rows.push_back(std::move(row));
    }
  }
  return tables;
}

}  // namespace attnlab
