#include "apps/compress/sweep.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <memory>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "apps/compress/job.h"
#include "apps/compress/rows.h"
#include "apps/compress/sweep_plan.h"
#include "apps/jobs.h"
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

// A row and the documents of its scores that are means over documents, by "TASK METRIC".
struct SweepRow {
  RowTable::Row row;
  std::map<std::string, std::vector<double>> examples;
};

absl::StatusOr<SweepRow> ScoreCell(const SweepConfig& config, const SweepCell& cell) {
  ATTNLAB_ASSIGN_OR_RETURN(Subject subject, OpenSubject(RowSubject(config, cell.model)));
  ATTNLAB_ASSIGN_OR_RETURN(const at::ScalarType dtype, LoadModelType(subject.folder));

  SweepRow result;
  RowTable::Row& row = result.row;
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
  context.data = config.data;
  context.limit = config.limit;
  context.harness = config.harness;
  context.forward = subject.forward;
  for (const std::string& task : config.tasks) {
    ATTNLAB_ASSIGN_OR_RETURN(const TaskOutcome outcome, RunTask(task, context));
    for (const EvalScore& score : outcome.scores) {
      const std::string name = absl::StrCat(score.task, " ", score.metric);
      add(name, score.higher_is_better ? "higher" : "lower", score.score);
      if (std::isnan(score.standard_error)) continue;
      add(absl::StrCat(name, " stderr"), "", score.standard_error);
      if (!score.per_example.empty()) result.examples[name] = score.per_example;
    }
  }
  return result;
}

// results.h5 of a sweep. Rows come from jobs that may run side by side: each leaves its row in a
// file of its own beside it, of the same form, and rows are taken over in the recipe's order.
class Sweep {
 public:
  Sweep(const SweepPlan& plan, const std::string& kind, const std::string& out,
        const std::vector<std::string>& command_line)
      : plan_(plan), kind_(kind), out_(out), command_line_(command_line) {}

  // Makes the file unless it is there, or says why it cannot be gone on with.
  absl::Status Create(bool resume) const;
  // True when there is nothing left to do.
  absl::StatusOr<bool> Open();

  // The cells without a row, in order.
  const std::vector<const SweepCell*>& missing() const { return missing_; }
  // Computes the row of a missing cell and leaves its file.
  absl::Status Score(size_t index) const;
  // Takes over the rows whose files are there, as far as none is missing before them; with `gaps`
  // all of them.
  absl::Status TakeRows(bool gaps);
  absl::Status Finish() { return results_->Finish("finished"); }

 private:
  std::string Path() const { return absl::StrCat(out_, "/results.h5"); }
  std::string RowPath(const SweepCell& cell) const {
    return absl::StrCat(out_, "/row-", &cell - plan_.cells.data() + 1, ".h5");
  }
  absl::StatusOr<std::unique_ptr<ResultsWriter>> NewFile(const std::string& path) const;
  absl::Status TakeRow(const RunResults& row);

  const SweepPlan& plan_;
  const std::string kind_, out_;
  const std::vector<std::string> command_line_;
  std::unique_ptr<ResultsWriter> results_;
  RowTable rows_;
  std::vector<const SweepCell*> missing_;
};

absl::StatusOr<std::unique_ptr<ResultsWriter>> Sweep::NewFile(const std::string& path) const {
  ATTNLAB_ASSIGN_OR_RETURN(const at::Device device, ParseDevice(plan_.config.device));
  Provenance provenance = MachineProvenance(device, command_line_);
  provenance.recipe = plan_.text;
  return ResultsWriter::Create(path, {kind_, plan_.config.name, ""}, provenance);
}

absl::Status Sweep::Create(bool resume) const {
  std::error_code error;
  if (!fs::exists(Path(), error)) {
    fs::create_directories(out_, error);
    if (error) return ErrnoStatus(error.value(), "cannot make the folder", out_);
    return NewFile(Path()).status();
  }
  if (resume) return absl::OkStatus();
  return absl::AlreadyExistsError(
      absl::StrCat(out_, " is there already; go on with --resume, or give --out another folder"));
}

absl::StatusOr<bool> Sweep::Open() {
  ATTNLAB_ASSIGN_OR_RETURN(const RunResults before, ReadResults(Path()));
  if (before.status == "finished") return true;
  if (before.provenance.recipe != plan_.text) {
    return absl::FailedPreconditionError(
        absl::StrCat(out_, " is of another recipe; its own stands in /provenance/recipe of ",
                     Path(), "; give --out another folder"));
  }
  ATTNLAB_ASSIGN_OR_RETURN(results_, ResultsWriter::Reopen(Path(), 0));
  if (const auto it = before.tables.find(names::kSweepTable); it != before.tables.end())
    rows_ = RowTable(it->second);
  ATTNLAB_RETURN_IF_ERROR(TakeRows(/*gaps=*/true));
  for (const SweepCell& cell : plan_.cells) {
    if (!rows_.Has(cell.Key())) missing_.push_back(&cell);
  }
  return false;
}

absl::Status Sweep::Score(size_t index) const {
  const SweepCell& cell = *missing_[index];
  LogInfo(absl::StrCat("row ", plan_.cells.size() - missing_.size() + index + 1, " of ",
                       plan_.cells.size(), ": ", cell.Name()));
  absl::StatusOr<SweepRow> scored = ScoreCell(plan_.config, cell);
  if (!scored.ok()) return Annotate(scored.status(), cell.Name());
  std::error_code error;
  fs::remove(RowPath(cell), error);  // of a job that was stopped
  ATTNLAB_ASSIGN_OR_RETURN(const auto file, NewFile(RowPath(cell)));
  RowTable row;
  row.Add(scored->row);
  file->WriteTable(names::kSweepTable, row.columns());
  for (const auto& [name, values] : scored->examples) {
    file->WriteTable(absl::StrCat(names::kSweepExamples, name), {{"", "", values, {}}});
  }
  return file->Finish("finished");
}

absl::Status Sweep::TakeRows(bool gaps) {
  for (const SweepCell& cell : plan_.cells) {
    if (rows_.Has(cell.Key())) continue;
    const std::string path = RowPath(cell);
    const absl::StatusOr<RunResults> row = ReadResults(path);
    const bool finished = row.ok() && row->status == "finished" &&
                          row->provenance.recipe == plan_.text &&
                          row->tables.contains(names::kSweepTable);
    if (!finished && !gaps) break;
    if (!finished) continue;
    ATTNLAB_RETURN_IF_ERROR(Annotate(TakeRow(*row), path));
    std::error_code error;
    fs::remove(path, error);
  }
  return absl::OkStatus();
}

absl::Status Sweep::TakeRow(const RunResults& row) {
  RowTable::Row values;
  for (const Column& column : row.tables.at(names::kSweepTable)) {
    if (column.size() != 1) return absl::DataLossError("not the file of one row; remove it");
    if (column.texts.empty()) {
      values.numbers.push_back({column.name, column.unit, column.numbers[0]});
    } else {
      values.texts.push_back({column.name, column.texts[0]});
    }
  }
  const auto& tables = results_->results().tables;
  for (const auto& [name, documents] : row.tables) {
    if (name == names::kSweepTable) continue;
    if (documents.size() != 1) return absl::DataLossError("not the file of one row; remove it");
    std::vector<Column> columns;
    if (const auto it = tables.find(name); it != tables.end()) columns = it->second;
    if (!columns.empty() && columns[0].size() != documents[0].size()) {
      return absl::FailedPreconditionError(
          absl::StrCat(name, ": ", documents[0].size(), " documents, but ", columns[0].size(),
                       " in the rows before; the task files changed since the sweep began"));
    }
    columns.push_back({absl::StrCat(rows_.size()), "", documents[0].numbers, {}});
    results_->WriteTable(name, columns);
  }
  rows_.Add(values);
  results_->WriteTable(names::kSweepTable, rows_.columns());
  return results_->Flush();
}

}  // namespace

absl::Status RunSweep(const Recipe& recipe, const std::string& kind, const std::string& out,
                      bool resume, int64_t jobs, const std::vector<std::string>& command_line) {
  ATTNLAB_ASSIGN_OR_RETURN(const SweepPlan plan, PlanSweep(recipe, kind));
  Sweep sweep(plan, kind, out, command_line);
  const auto share = [&](size_t index) {
    if (jobs <= 1) return;
    TakeOneGpu(plan.config.device, index);
    SetThreads(std::max<int64_t>(1, std::thread::hardware_concurrency() / jobs));
  };
  const auto create = [&](size_t) -> absl::Status {
    ATTNLAB_RETURN_IF_ERROR(CheckInputs(plan));
    return sweep.Create(resume);
  };
  ATTNLAB_RETURN_IF_ERROR(RunJobs({1, jobs, create, {}, StopRequested}));
  ATTNLAB_ASSIGN_OR_RETURN(const bool finished, sweep.Open());
  if (finished) {
    LogInfo(absl::StrCat(out, " is finished; nothing to do"));
    return absl::OkStatus();
  }
  const auto score = [&](size_t index) {
    share(index);
    return sweep.Score(index);
  };
  const auto take = [&](size_t) { return sweep.TakeRows(/*gaps=*/false); };
  const absl::Status ran = RunJobs({sweep.missing().size(), jobs, score, take, StopRequested});
  ATTNLAB_RETURN_IF_ERROR(sweep.TakeRows(/*gaps=*/true));
  ATTNLAB_RETURN_IF_ERROR(ran);
  return sweep.Finish();
}

}  // namespace attnlab
