#include "libs/eval/tasks.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "libs/core/files.h"
#include "libs/core/progress.h"
#include "libs/core/status.h"
#include "libs/eval/held_out.h"
#include "libs/eval/task_list.h"

namespace attnlab {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

absl::StatusOr<HeldOutScore> HeldOut(const EvalContext& context) {
  if (context.held_out == nullptr) {
    return absl::FailedPreconditionError(
        "no held-out data: give --data a folder that `prepare` wrote, or evaluate the model of a "
        "run, whose recipe names its data");
  }
  Progress progress("held-out", context.limit, "sequences");
  ATTNLAB_ASSIGN_OR_RETURN(
      HeldOutScore score,
      ScoreHeldOut(*context.held_out, *context.model, context.limit, context.forward, &progress));
  if (std::isnan(score.loss)) return absl::InternalError("the model's loss is not a number (NaN)");
  return score;
}

EvalScore OwnScore(const std::string& task, const std::string& metric, double score, double error,
                   int64_t n) {
  EvalScore result;
  result.task = task;
  result.metric = metric;
  result.score = score;
  result.standard_error = error;
  result.n = n;
  result.higher_is_better = false;
  result.harness = "attnlab";
  return result;
}

void AddRoles(const std::string& task, const HeldOutScore& held_out, TaskOutcome& outcome) {
  for (const RoleScore& role : held_out.roles) {
    outcome.scores.push_back(
        OwnScore(task, absl::StrCat(role.name, "_loss"), role.loss, kNone, role.tokens));
    outcome.scores.push_back(
        OwnScore(task, absl::StrCat(role.name, "_entropy"), role.entropy, kNone, role.tokens));
  }
}

}  // namespace

absl::StatusOr<TaskOutcome> HeldOutTask(const EvalContext& context) {
  ATTNLAB_ASSIGN_OR_RETURN(const HeldOutScore held_out, HeldOut(context));
  TaskOutcome outcome;
  const auto add = [&](const char* metric, double score, double error) {
    outcome.scores.push_back(OwnScore("held_out", metric, score, error, held_out.tokens));
  };
  add("loss", held_out.loss, held_out.standard_error);
  add("perplexity", std::exp(held_out.loss), kNone);
  if (held_out.bits_per_byte > 0) add("bits_per_byte", held_out.bits_per_byte, kNone);
  AddRoles("held_out", held_out, outcome);
  return outcome;
}

absl::StatusOr<TaskOutcome> BackcopyTask(const EvalContext& context) {
  ATTNLAB_ASSIGN_OR_RETURN(const HeldOutScore held_out, HeldOut(context));
  if (held_out.roles.empty()) {
    return absl::FailedPreconditionError(
        "the held-out data are not the Bigram-Backcopy task; evaluate the model of a run whose "
        "recipe has data.source = \"bigram_backcopy\"");
  }
  TaskOutcome outcome;
  outcome.scores.push_back(
      OwnScore("backcopy", "loss", held_out.loss, held_out.standard_error, held_out.tokens));
  AddRoles("backcopy", held_out, outcome);
  return outcome;
}

int64_t EvalContext::MaxLength() const {
  return max_length > 0 ? max_length : model->config().max_position_embeddings;
}

ScoreOptions EvalContext::Scoring(const std::string& name) const {
  return {MaxLength(), std::max<int64_t>(batch_tokens, 1), forward, name};
}

absl::StatusOr<std::string> ReadTaskFile(const EvalContext& context, const std::string& name,
                                         TaskOutcome& outcome) {
  const std::string path = absl::StrCat(context.data, "/", name);
  absl::StatusOr<std::string> contents = ReadFile(path);
  if (!contents.ok()) {
    return Annotate(contents.status(),
                    absl::StrCat("looking for ", name, " in the folder of --data"));
  }
  ATTNLAB_ASSIGN_OR_RETURN(const std::string sha256, Sha256OfFile(path));
  outcome.inputs.push_back({path, sha256, static_cast<int64_t>(contents->size())});
  return contents;
}

absl::StatusOr<HarnessEncoder> MakeEncoder(const EvalContext& context) {
  ATTNLAB_RETURN_IF_ERROR(ValidateHarness(context.harness));
  if (context.tokenizer == nullptr) {
    return absl::FailedPreconditionError(
        "the model has no tokenizer, so it cannot read text; put the tokenizer's files into the "
        "model folder or name them with --tokenizer");
  }
  HarnessEncoder encoder(*context.tokenizer, context.harness);
  if (encoder.prefix() < 0) {
    return absl::FailedPreconditionError(
        "the tokenizer has neither BOS nor EOS, but the first token of a document must be scored "
        "after one; use a tokenizer with special tokens");
  }
  return encoder;
}

int64_t Limited(int64_t count, int64_t limit) { return limit > 0 ? std::min(count, limit) : count; }

EvalScore HarnessScore(const EvalContext& context, const std::string& task,
                       const std::string& metric, double score, double standard_error, int64_t n,
                       bool higher_is_better) {
  EvalScore result;
  result.task = task;
  result.metric = metric;
  result.score = score;
  result.standard_error = standard_error;
  result.n = n;
  result.higher_is_better = higher_is_better;
  result.harness = absl::StrCat("lm-evaluation-harness ", context.harness);
  return result;
}

std::vector<EvalTask> EvalTasks() {
  std::vector<EvalTask> tasks = {
#define ATTNLAB_TASK(name, function, help) {#name, function, help},
#define ATTNLAB_HELD_OUT_TASK(name, function, help) {#name, function, help, /*held_out=*/true},
#define ATTNLAB_CHOICE_TASK(name, file, reader, per_length, help)
#include "libs/eval/tasks.def"
#undef ATTNLAB_TASK
#undef ATTNLAB_HELD_OUT_TASK
#undef ATTNLAB_CHOICE_TASK
  };
  for (EvalTask& task : ChoiceTasks()) tasks.push_back(std::move(task));
  return tasks;
}

absl::Status ValidateTasks(const std::vector<std::string>& names) {
  std::vector<std::string> known;
  for (const EvalTask& task : EvalTasks()) known.push_back(task.name);
  for (const std::string& name : names) {
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("no task \"", name, "\"; there are ", absl::StrJoin(known, ", ")));
  }
  return absl::OkStatus();
}

bool ReadsTaskFiles(const std::vector<std::string>& names) {
  for (const EvalTask& task : EvalTasks()) {
    if (!task.held_out && std::find(names.begin(), names.end(), task.name) != names.end()) {
      return true;
    }
  }
  return false;
}

absl::StatusOr<TaskOutcome> RunTask(const std::string& name, const EvalContext& context) {
  ATTNLAB_RETURN_IF_ERROR(ValidateTasks({name}));
  const std::vector<EvalTask> tasks = EvalTasks();
  const auto task = std::find_if(tasks.begin(), tasks.end(),
                                 [&](const EvalTask& other) { return other.name == name; });
  absl::StatusOr<TaskOutcome> outcome = task->run(context);
  if (!outcome.ok()) return Annotate(outcome.status(), absl::StrCat("task ", name));
  return outcome;
}

}  // namespace attnlab
