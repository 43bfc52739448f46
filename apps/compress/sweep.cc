#include "apps/compress/sweep.h"

#include <cmath>
#include <filesystem>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "apps/compress/job.h"
#include "apps/compress/rows.h"
#include "apps/compress/sweep_plan.h"
#include "apps/subject.h"
#include "libs/core/log.h"
#include "libs/core/status.h"
#include "libs/eval/tasks.h"
#include "libs/io/result_names.h"
#include "libs/io/results.h"
#include "libs/model/model_io.h"
#include "libs/model/runtime.h"
#include "libs/train/stop_signal.h"

namespace attnlab {
namespace {

namespace fs = std::filesystem;

class Sweep {
 public:
  Sweep(SweepPlan plan, std::string kind)
      : config_(std::move(plan.config)),
        text_(std::move(plan.text)),
        kind_(std::move(kind)),
        cells_(std::move(plan.cells)) {}

  absl::Status Open(const std::string& out, bool resume,
                    const std::vector<std::string>& command_line);
  absl::Status Run();

 private:
  absl::Status RunCell(const SweepCell& cell);
  // The documents of a score of the next row, as a column of the table `name`.
  absl::Status AddExamples(const std::string& name, const std::vector<double>& values);

  const SweepConfig config_;
  const std::string text_, kind_;
  std::vector<SweepCell> cells_;
  std::unique_ptr<ResultsWriter> results_;
  RowTable rows_;
};

absl::Status Sweep::Open(const std::string& out, bool resume,
                         const std::vector<std::string>& command_line) {
  const std::string path = out + "/results.h5";
  std::error_code error;
  if (!fs::exists(path, error)) {
    fs::create_directories(out, error);
    if (error) return ErrnoStatus(error.value(), "cannot make the folder", out);
    ATTNLAB_ASSIGN_OR_RETURN(const at::Device device, ParseDevice(config_.device));
    Provenance provenance = MachineProvenance(device, command_line);
    provenance.recipe = text_;
    ATTNLAB_ASSIGN_OR_RETURN(results_,
                             ResultsWriter::Create(path, {kind_, config_.name, ""}, provenance));
    return absl::OkStatus();
  }
  if (!resume) {
    return absl::AlreadyExistsError(
        absl::StrCat(out, " is there already; go on with --resume, or give --out another folder"));
  }
  ATTNLAB_ASSIGN_OR_RETURN(const RunResults before, ReadResults(path));
  if (before.status == "finished") {
    LogInfo(absl::StrCat(out, " is finished; nothing to do"));
    cells_.clear();
    return absl::OkStatus();
  }
  ATTNLAB_ASSIGN_OR_RETURN(results_, ResultsWriter::Reopen(path, 0));
  if (results_->results().provenance.recipe != text_) {
    return absl::FailedPreconditionError(
        absl::StrCat(out, " is of another recipe; its own stands in /provenance/recipe of ", path,
                     "; give --out another folder"));
  }
  const auto& tables = results_->results().tables;
  if (const auto it = tables.find(names::kSweepTable); it != tables.end())
    rows_ = RowTable(it->second);
  return absl::OkStatus();
}

absl::Status Sweep::RunCell(const SweepCell& cell) {
  SubjectOptions options;
  options.model = cell.model;
  options.data = config_.data;
  options.task_files = ReadsTaskFiles(config_.tasks);
  options.device = config_.device;
  options.precision = config_.precision;
  options.limit = config_.limit;
  ATTNLAB_ASSIGN_OR_RETURN(Subject subject, OpenSubject(options));
  ATTNLAB_ASSIGN_OR_RETURN(const at::ScalarType dtype, LoadModelType(subject.folder));

  RowTable::Row row;
  row.texts = cell.Key();
  row.texts.insert(row.texts.begin() + 1, {"variant", subject.model->config().attention.weighting});
  row.texts.insert(row.texts.begin() + 2, {"seed", absl::StrCat(subject.seed)});
  const auto add = [&](const std::string& name, const char* unit, double value) {
    row.numbers.push_back({name, unit, value});
  };
  if (cell.job.how != nullptr) {
    ATTNLAB_ASSIGN_OR_RETURN(const CompressOutcome outcome, Compress(cell.job, subject));
    add("bits", "", outcome.report.bits());
    add("zeros", "fraction", outcome.report.sparsity());
    add("weight error", "fraction", outcome.report.weight_error());
    add("output error", "fraction", outcome.report.output_error());
    add("seconds", "s", outcome.report.seconds);
  } else {
    add("bits", "", 8.0 * static_cast<double>(c10::elementSize(dtype)));
  }
  add("bytes", "bytes", static_cast<double>(WeightBytes(*subject.model, dtype)));

  EvalContext context;
  context.model = subject.model.get();
  context.tokenizer = subject.tokenizer.get();
  context.held_out = subject.held_out.get();
  context.data = config_.data;
  context.limit = config_.limit;
  context.harness = config_.harness;
  context.forward = subject.forward;
  for (const std::string& task : config_.tasks) {
    ATTNLAB_ASSIGN_OR_RETURN(const TaskOutcome outcome, RunTask(task, context));
    for (const EvalScore& score : outcome.scores) {
      const std::string name = absl::StrCat(score.task, " ", score.metric);
      add(name, score.higher_is_better ? "higher" : "lower", score.score);
      if (std::isnan(score.standard_error)) continue;
      add(absl::StrCat(name, " stderr"), "", score.standard_error);
      if (score.per_example.empty()) continue;
      ATTNLAB_RETURN_IF_ERROR(
          AddExamples(absl::StrCat(names::kSweepExamples, name), score.per_example));
    }
  }
  rows_.Add(row);
  results_->WriteTable(names::kSweepTable, rows_.columns());
  return results_->Flush();
}

absl::Status Sweep::AddExamples(const std::string& name, const std::vector<double>& values) {
  std::vector<Column> columns;
  const auto& tables = results_->results().tables;
  if (const auto it = tables.find(name); it != tables.end()) columns = it->second;
  if (!columns.empty() && columns[0].size() != values.size()) {
    return absl::FailedPreconditionError(
        absl::StrCat(name, ": ", values.size(), " documents, but ", columns[0].size(),
                     " in the rows before; the task files changed since the sweep began"));
  }
  columns.push_back({absl::StrCat(rows_.size()), "", values, {}});
  results_->WriteTable(name, columns);
  return absl::OkStatus();
}

absl::Status Sweep::Run() {
  size_t done = 0;
  for (const SweepCell& cell : cells_) {
    ++done;
    if (rows_.Has(cell.Key())) continue;
    if (StopRequested()) {
      return absl::CancelledError("stopped by a signal; go on with --resume");
    }
    LogInfo(absl::StrCat("row ", done, " of ", cells_.size(), ": ", cell.Name()));
    ATTNLAB_RETURN_IF_ERROR(Annotate(RunCell(cell), cell.Name()));
  }
  return results_ == nullptr ? absl::OkStatus() : results_->Finish("finished");
}

}  // namespace

absl::Status RunSweep(const Recipe& recipe, const std::string& kind, const std::string& out,
                      bool resume, const std::vector<std::string>& command_line) {
  ATTNLAB_ASSIGN_OR_RETURN(SweepPlan plan, PlanSweep(recipe, kind));
  ATTNLAB_RETURN_IF_ERROR(CheckCalibration(plan));
  Sweep sweep(std::move(plan), kind);
  ATTNLAB_RETURN_IF_ERROR(sweep.Open(out, resume, command_line));
  return sweep.Run();
}

}  // namespace attnlab
