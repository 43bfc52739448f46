// The rows of a sweep of compression methods as they are compared: who made a row, its scores, and
// by how much two variants differ.
#pragma once

#include <limits>
#include <string>
#include <vector>

#include "libs/io/results.h"

namespace attnlab {

struct SweepPlace {
  std::string variant, method;  // "softpick", "gptq bits=4, on books"
  std::string pair;             // seed and draw: rows that have it in common are compared
};

// Where each row of the table `sweep` belongs; empty when texts are missing (a foreign file).
std::vector<SweepPlace> SweepPlaces(const std::vector<Column>& columns);

struct SweepScore {
  std::string name;  // "arc_easy acc"
  bool higher_is_better = false;
  std::vector<double> values;  // [rows]
  // Of a score that is a mean over documents: their values, [tasks][rows], null where a row has
  // none. Several tasks weigh the same. Empty: not kept.
  std::vector<std::vector<const std::vector<double>*>> documents;
};

// The scores of the sweep, and after them for each metric of several tasks that are means over
// documents the mean over these tasks. Points into `results`.
std::vector<SweepScore> SweepScores(const RunResults& results);

// Over the rows of a method and variant, NaN when there are none.
double MeanScore(const SweepScore& score, const std::vector<SweepPlace>& places,
                 const std::string& method, const std::string& variant);

struct SweepComparison {
  std::vector<double> differences;  // of the pairs that both variants have; their mean:
  double mean = std::numeric_limits<double>::quiet_NaN();
  // Of the mean, over documents; they are the same for all rows, so it is that of the documents'
  // differences. NaN where documents are not kept.
  double standard_error = std::numeric_limits<double>::quiet_NaN();
};

// `other` minus `first` with `method`; with `changes` that difference minus the one of the models
// as they were trained.
SweepComparison Compare(const SweepScore& score, const std::vector<SweepPlace>& places,
                        const std::string& method, const std::string& first,
                        const std::string& other, bool changes);

}  // namespace attnlab
