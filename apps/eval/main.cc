// eval MODEL: scores a model on tasks, and measures its attention and activations.

#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "apps/cli.h"
#include "apps/eval/output.h"
#include "apps/subject.h"
#include "libs/analysis/analyze.h"
#include "libs/analysis/report.h"
#include "libs/core/log.h"
#include "libs/core/status.h"
#include "libs/eval/tasks.h"
#include "libs/model/runtime.h"

namespace attnlab {
namespace {

struct Flags {
  SubjectOptions subject;
  std::vector<std::string> tasks;
  std::string harness = kHarnessPlain, out;
  int64_t max_length = 0, batch_tokens = EvalContext().batch_tokens, sequences = 16;
  bool analysis = false, json = false, list = false;
};

absl::StatusOr<std::unique_ptr<ResultsWriter>> MakeWriter(const std::string& path,
                                                          const Subject& subject,
                                                          const std::vector<InputFile>& inputs,
                                                          const std::vector<std::string>& command) {
  Provenance provenance = MachineProvenance(subject.model->device(), command);
  provenance.seed = subject.seed;
  provenance.parameters = ParameterCount(subject.model->config());
  provenance.inputs = inputs;
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), error);
  if (error) return ErrnoStatus(error.value(), "cannot make the folder of", path);
  return ResultsWriter::Create(
      path, {"eval", subject.name, subject.model->config().attention.weighting}, provenance);
}

absl::Status Run(const Flags& flags, const std::vector<std::string>& command) {
  if (flags.list) {
    for (const EvalTask& task : EvalTasks()) absl::PrintF("%-16s  %s\n", task.name, task.help);
    return absl::OkStatus();
  }
  if (flags.subject.model.empty() || (flags.tasks.empty() && !flags.analysis)) {
    return UsageError(
        "nothing to do: give a MODEL and --tasks or --analysis (--list shows the tasks)");
  }
  ATTNLAB_RETURN_IF_ERROR(ValidateTasks(flags.tasks));
  const std::string results = absl::StrCat(flags.out, "/results.h5");
  if (!flags.out.empty() && std::filesystem::exists(results)) {
    return absl::AlreadyExistsError(
        absl::StrCat(results, " is there already; give --out another folder or remove it"));
  }
  SubjectOptions options = flags.subject;
  options.task_files = ReadsTaskFiles(flags.tasks);
  ATTNLAB_ASSIGN_OR_RETURN(const Subject subject, OpenSubject(options));
  Evaluation evaluation{subject.name, subject.model->config().attention.weighting, {}, {}};
  const EvalContext context{subject.model.get(), subject.tokenizer.get(), subject.held_out.get(),
                            flags.subject.data,  flags.subject.limit,     flags.max_length,
                            flags.batch_tokens,  flags.harness,           subject.forward};
  std::vector<InputFile> inputs;
  for (const std::string& task : flags.tasks) {
    ATTNLAB_ASSIGN_OR_RETURN(TaskOutcome outcome, RunTask(task, context));
    for (EvalScore& score : outcome.scores) evaluation.scores.push_back(std::move(score));
    inputs.insert(inputs.end(), outcome.inputs.begin(), outcome.inputs.end());
  }
  AnalysisReport report;
  if (flags.analysis) {
    if (subject.held_out == nullptr) {
      return absl::FailedPreconditionError(
          "no held-out data to analyse: give --data a folder that `prepare` wrote");
    }
    ATTNLAB_ASSIGN_OR_RETURN(report, Analyze(*subject.held_out, *subject.model, flags.sequences, 0,
                                             {}, subject.forward));
    evaluation.analysis = AnalysisMetrics(report);
  }
  if (!flags.out.empty()) {
    ATTNLAB_ASSIGN_OR_RETURN(const auto writer, MakeWriter(results, subject, inputs, command));
    for (const EvalScore& score : evaluation.scores) writer->Write(score);
    if (flags.analysis) WriteAnalysis(report, *writer);
    ATTNLAB_RETURN_IF_ERROR(writer->Finish("finished"));
    LogInfo(absl::StrCat("results in ", writer->path()));
  }
  absl::PrintF("%s", flags.json ? AsJson(evaluation) : AsTable(evaluation));
  return absl::OkStatus();
}

}  // namespace
}  // namespace attnlab

int main(int argc, char** argv) {
  attnlab::Flags flags;
  attnlab::Cli cli("eval", "Scores a model on tasks and measures its attention and activations.",
                   {"eval runs/quickstart/softpick-seed1 --tasks backcopy --analysis",
                    "eval runs/books/model --tasks held_out,wikitext --data DATA --out runs/eval",
                    "eval --list"});
  cli.OptionalPositional("MODEL", flags.subject.model, "model folder, or folder of a finished run");
  cli.List("tasks", flags.tasks, "what to score, see --list");
  cli.Option("data", flags.subject.data, "folder of task files, or one that `prepare` wrote");
  cli.Option("tokenizer", flags.subject.tokenizer, "tokenizer, when the model folder has none");
  cli.Option("limit", flags.subject.limit, "documents or sequences of each task; 0 = all");
  cli.Flag("analysis", flags.analysis, "measure sinks, outliers, sparsity, dead heads");
  cli.Option("sequences", flags.sequences, "held-out sequences that the analysis takes");
  cli.Option("sequence-length", flags.subject.sequence_length,
             "of held-out sequences; 0 = the run's, else the model's longest");
  cli.Option("max-length", flags.max_length, "tokens of a pass; 0 = the model's longest sequence");
  cli.Option("batch-tokens", flags.batch_tokens, "tokens of a pass, all sequences together");
  cli.Option("harness", flags.harness, "whose rule about BOS: 0.4.9.1 and before, or 0.4.9.2");
  cli.Option("device", flags.subject.device, "auto, cpu, cuda or cuda:N");
  cli.Option("precision", flags.subject.precision, "float32 or bfloat16; empty = the run's");
  cli.Flag("json", flags.json, "print JSON");
  cli.Option("out", flags.out, "folder for results.h5");
  cli.Flag("list", flags.list, "show the tasks and exit");
  const std::vector<std::string> command(argv, argv + argc);
  return cli.Run(argc, argv, [&] { return attnlab::Run(flags, command); });
}
