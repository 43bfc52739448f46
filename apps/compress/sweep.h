// A sweep: every model of a recipe compressed with every method, scored on tasks, one row each in
// one results.h5.
//
//   models = ["runs/s26/softmax", "runs/s26/softpick"]
//   tasks = ["held_out", "wikitext"]
//   [calibration.books]               # a named set of calibration text, three draws of it
//   source = "data/books"
//   sequences = 128
//   seeds = [0, 1, 2]
//   [calibration.training]            # another: the text that the model was trained on
//   sequences = 16
//   [methods]
//   hqq = [{bits = 4}, {bits = 3}]
//   gptq = [{bits = 4, group_size = 128}]             # with every set
//   awq = [{bits = 4, calibration = "books"}]         # with this one
//
// The model as it is comes first. A method that looks at text has a row for each draw of its sets,
// others have one row. Rows are computed side by side where `jobs` says so, each in a process of
// its own, and written in the recipe's order when they are finished; a sweep that was stopped goes
// on with the rows that are missing.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "libs/recipe/recipe.h"

namespace attnlab {

// Runs the sweep of `recipe` into the folder `out`. AlreadyExists when it is there and `resume` is
// false. Every method and its settings, every model, its data and the text of every calibration set
// are checked before the first row. A row that fails ends the sweep with its name; of `jobs` rows
// side by side, the others are computed still.
absl::Status RunSweep(const Recipe& recipe, const std::string& kind, const std::string& out,
                      bool resume, int64_t jobs, const std::vector<std::string>& command_line);

}  // namespace attnlab
