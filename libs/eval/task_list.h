// The functions behind tasks.def.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/eval/tasks.h"

namespace attnlab {

absl::StatusOr<TaskOutcome> HeldOutTask(const EvalContext& context);
absl::StatusOr<TaskOutcome> BackcopyTask(const EvalContext& context);
absl::StatusOr<TaskOutcome> WikitextTask(const EvalContext& context);
absl::StatusOr<TaskOutcome> WikitextTokensTask(const EvalContext& context);
absl::StatusOr<TaskOutcome> LambadaTask(const EvalContext& context);

// The multiple-choice tasks of tasks.def.
std::vector<EvalTask> ChoiceTasks();

// The file `name` of the data folder, added to `outcome.inputs`. NotFound says where it is looked
// for.
absl::StatusOr<std::string> ReadTaskFile(const EvalContext& context, const std::string& name,
                                         TaskOutcome& outcome);

// FailedPrecondition when the model has no tokenizer.
absl::StatusOr<HarnessEncoder> MakeEncoder(const EvalContext& context);

// The first `limit` items of `count`; 0 = all.
int64_t Limited(int64_t count, int64_t limit);

// A score of task `task` under the rules of the context's harness version.
EvalScore HarnessScore(const EvalContext& context, const std::string& task,
                       const std::string& metric, double score, double standard_error, int64_t n,
                       bool higher_is_better);

}  // namespace attnlab
