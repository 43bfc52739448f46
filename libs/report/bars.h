// Bars: the values that the runs of an experiment must reach, from its bars.toml, and the verdict
// on each.
//
//   [bar.no-sink]
//   statement = "softpick: no head looks at BOS where it has nothing to copy"
//   source = "Guo et al. 2024, arXiv 2410.13835"
//   run = "softpick"
//   metric = "attention:bos_attention"
//   reduce = "max"
//   at_most = 0.01
//
// Every finished run of the name is judged, one a seed, and the bar is held when each of them
// reaches it.
#pragma once

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/report/run_set.h"

namespace attnlab {

struct Bar {
  std::string statement, source;
  double paper = NAN;
  std::string run, minus, ratio_to;
  std::string metric, reduce;
  double at_least = NAN, at_most = NAN, within = NAN;

  template <class Visitor>
  void ForEach(Visitor&& visit) {
    visit("statement", statement, "what is claimed");
    visit("source", source, "who claims it");
    visit("paper", paper, "their value; nan: none");
    visit("run", run, "attention variant, or name of the recipe");
    visit("minus", minus, "judge the difference to this one's run of the same seed");
    visit("ratio_to", ratio_to, "judge the quotient by this one's run of the same seed");
    visit("metric", metric,
          "name of a metric, attention:NAME (of the heads) or series:NAME (its last value)");
    visit("reduce", reduce, "max, min or mean over the heads");
    visit("at_least", at_least, "lower bound");
    visit("at_most", at_most, "upper bound");
    visit("within", within, "bound on the absolute value");
  }
};

// By their ids, the names of the sections.
using Bars = std::map<std::string, Bar>;

struct Verdict {
  std::string id;
  Claim claim;                       // its measured value the mean over the runs, NaN without one
  std::string run, color;            // "softpick − softmax", the colour of the first
  std::vector<double> measurements;  // one a run, or a pair of runs
};

// InvalidArgument when a bar is not whole: no run, no metric, no bound, ...
absl::StatusOr<Bars> LoadBars(const std::string& path);

// One verdict a bar: "held", "missed" (by some run; NaN misses every bound) or "not measured" (a
// finished run without the metric, or no such run). A difference or quotient takes runs of one
// seed, and of one recipe where both have runs of it.
std::vector<Verdict> JudgeBars(const Bars& bars, const RunSet& set);

// OK when every bar is held, else Aborted (exit code 4) with the count of those that are not.
absl::Status AllHeld(const std::vector<Verdict>& verdicts);

}  // namespace attnlab
