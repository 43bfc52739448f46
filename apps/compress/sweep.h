// A sweep: every model of a recipe compressed with every method, scored on tasks, one row each in
// one results.h5.
//
//   models = ["runs/s26/softmax", "runs/s26/softpick"]
//   tasks = ["held_out", "wikitext"]
//   draws = [0, 1, 2]                 # calibration draws of methods that look at text
//   [calibration]
//   sequences = 128
//   [methods]
//   hqq = [{bits = 4}, {bits = 3}]
//   gptq = [{bits = 4, group_size = 128}]
//
// The model as it is comes first. A row is written when it is finished; a sweep that was stopped
// goes on with the rows that are missing.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "libs/compress/calibration.h"
#include "libs/eval/harness.h"
#include "libs/recipe/recipe.h"

namespace attnlab {

struct SweepConfig {
  std::string name = "sweep";
  std::vector<std::string> models;
  std::vector<std::string> tasks = {"held_out"};
  std::string data;
  int64_t limit = 0;
  std::string harness = kHarnessPlain;
  std::string device = "auto";
  std::string precision = "float32";
  std::vector<int64_t> draws = {0};
  bool measure_outputs = true;
  CalibrationOptions calibration;

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
    visit("draws", draws, "seeds of the calibration text, a row each");
    visit("measure_outputs", measure_outputs,
          "output errors also of methods that need no calibration text");
    visit("calibration", calibration, "the text that methods look at; its seed is each of draws");
  }
};

// Runs the sweep of `recipe` into the folder `out`. AlreadyExists when it is there and `resume` is
// false. Every method and its settings are checked before the first model is opened; a row that
// fails ends the sweep with its name.
absl::Status RunSweep(const Recipe& recipe, const std::string& kind, const std::string& out,
                      bool resume, const std::vector<std::string>& command_line);

}  // namespace attnlab
