// The tasks of `eval`: each line of tasks.def is a name, a function that scores a model, and a line
// of help.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/data/batch_source.h"
#include "libs/eval/harness.h"
#include "libs/io/results.h"
#include "libs/model/transformer.h"
#include "libs/text/tokenizer.h"

namespace attnlab {

// What tasks are given. A task that lacks what it needs says so (FailedPrecondition).
struct EvalContext {
  const Transformer* model = nullptr;
  const Tokenizer* tokenizer = nullptr;  // null for a model of a synthetic task
  BatchSource* held_out = nullptr;       // held-out batches; may be null
  std::string data;                      // folder with the tasks' own files (wiki.test.raw, ...)
  int64_t limit = 0;                     // documents or sequences of a task; 0 = all
  int64_t max_length = 0;                // inputs of a pass; 0 = what the model was built for
  int64_t batch_tokens = 16384;          // of a pass
  std::string harness = kHarnessPlain;   // whose rule about BOS (ValidateHarness)
  ForwardOptions forward;

  int64_t MaxLength() const;
  ScoreOptions Scoring(const std::string& name) const;
};

struct TaskOutcome {
  std::vector<EvalScore> scores;
  std::vector<InputFile> inputs;  // files that were read
};

struct EvalTask {
  std::string name;
  std::function<absl::StatusOr<TaskOutcome>(const EvalContext& context)> run;
  std::string help;
  bool held_out = false;  // on held-out sequences; others read files of EvalContext::data
};

// Every task, in the order of tasks.def.
std::vector<EvalTask> EvalTasks();

// InvalidArgument with the known names when one of `names` is none of them.
absl::Status ValidateTasks(const std::vector<std::string>& names);

// Some task of `names`, all known, reads files of EvalContext::data.
bool ReadsTaskFiles(const std::vector<std::string>& names);

// As ValidateTasks, or what the task says.
absl::StatusOr<TaskOutcome> RunTask(const std::string& name, const EvalContext& context);

}  // namespace attnlab
