// Figures of a publication beside those of a sweep, in the publication's layout.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/report/document.h"
#include "libs/report/run_set.h"

namespace attnlab {

struct PublishedRow {
  std::string score;           // of a sweep: "arc_easy acc"
  std::string method;          // with its settings, as a sweep's tables name it: "hqq bits=2"
  std::vector<double> values;  // of each variant

  template <class Visitor>
  void ForEach(Visitor&& visit) {
    visit("score", score, "a score of the sweep, \"arc_easy acc\"");
    visit("method", method, "a method with its settings as the sweep's tables name it");
    visit("values", values, "the published figures, one a variant");
  }
};

struct PublishedTable {
  std::string title, note;
  std::vector<std::string> variants;
  std::map<std::string, PublishedRow> rows;  // by what the table calls them

  template <class Visitor>
  void ForEach(Visitor&& visit) {
    visit("title", title, "the table's number and name");
    visit("note", note, "what its reader should know");
    visit("variants", variants, "the variants whose figures it has");
    visit("row", rows, "its rows");
  }
};

using Published = std::map<std::string, PublishedTable>;

// Reads the tables [table.ID] of a TOML file; an error names the place.
absl::StatusOr<Published> LoadPublished(const std::string& path);

// One table for each published one: its figures, those of the first sweep of `set` that has the
// row, and whether the last variant's difference from the first has the same sign. Empty when
// `set` has no sweep.
std::vector<Table> PublishedTables(const Published& published, const RunSet& set);

}  // namespace attnlab
