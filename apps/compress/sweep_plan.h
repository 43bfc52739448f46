// The recipe of a sweep (sweep.h) and the rows that it asks for.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "apps/compress/job.h"
#include "apps/subject.h"
#include "libs/compress/calibration.h"
#include "libs/eval/harness.h"
#include "libs/recipe/recipe.h"

namespace attnlab {

struct CalibrationSet {
  CalibrationOptions text;  // but its seed
  std::vector<int64_t> seeds = {0};

  template <class Visitor>
  void ForEach(Visitor&& visit) {
    text.ForEachOfText(visit);
    visit("seeds", seeds, "the draws: which sequences, a row each");
  }
  CalibrationOptions Draw(int64_t seed) const {
    CalibrationOptions options = text;
    options.seed = seed;
    return options;
  }
};

struct SweepConfig {
  std::string name = "sweep";
  std::vector<std::string> models;
  std::vector<std::string> tasks = {"held_out"};
  std::string data;
  int64_t limit = 0;
  std::string harness = kHarnessPlain;
  std::string device = "auto";
  std::string precision = "float32";
  bool measure_outputs = true;
  std::map<std::string, CalibrationSet> calibration;  // empty: one, "training", of the defaults

  template <class Visitor>
  void ForEach(Visitor&& visit) {
    visit("name", name, "what reports call the sweep");
    visit("models", models, "model folders or folders of finished runs");
    visit("tasks", tasks, "what each model is scored on (eval --list)");
    visit("data", data, "folder of task files, or one that `prepare` wrote");
    visit("limit", limit, "documents or sequences of each task; 0 = all");
    visit("harness", harness, "whose rule about BOS: 0.4.9.1 and before, or 0.4.9.2");
    visit("device", device, "auto (a GPU if there is one), cpu, cuda or cuda:N");
    visit("precision", precision,
          "of the passes over calibration text and of the scoring: float32 or bfloat16");
    visit("measure_outputs", measure_outputs,
          "output errors also of methods that need no calibration text, on the first set by name");
    visit("calibration", calibration, "the sets of text that methods look at, by name");
  }
};

// A row: one model with one method and one draw of calibration text.
struct SweepCell {
  std::string model;
  CompressJob job;        // `how` is null for the model as it is
  std::string set, draw;  // of the calibration text, its seed; empty: the method looks at none

  // The texts that tell it from every other row.
  std::vector<std::pair<std::string, std::string>> Key() const;
  std::string Name() const;  // for people
};

struct SweepPlan {
  SweepConfig config;
  std::vector<SweepCell> cells;
  std::string text;  // the recipe as it is recorded
};

// Checks the recipe: every method, its settings and the names of sets and tasks.
absl::StatusOr<SweepPlan> PlanSweep(const Recipe& recipe, const std::string& kind);

// What a row opens of its model: the model, its tokenizer, the data that it is scored on.
SubjectOptions RowSubject(const SweepConfig& config, const std::string& model);

// Opens what the rows open, and draws the text of every set that a row needs, for every model.
absl::Status CheckInputs(const SweepPlan& plan);

}  // namespace attnlab
