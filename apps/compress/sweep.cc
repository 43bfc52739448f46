#include "apps/compress/sweep.h"

#include <cmath>
#include <filesystem>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "apps/compress/job.h"
#include "apps/compress/rows.h"
#include "apps/subject.h"
#include "libs/compress/method_list.h"
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
using Texts = std::vector<std::pair<std::string, std::string>>;

struct Cell {
  std::string model;
  CompressJob job;  // `how` is null for the model as it is
  Texts Key() const {
    return {{"model", model},
            {"method", job.method},
            {"settings", job.settings},
            {"draw", absl::StrCat(job.calibration.seed)}};
  }
};

class Sweep {
 public:
  Sweep(SweepConfig config, std::string kind)
      : config_(std::move(config)), kind_(std::move(kind)) {}

  absl::Status Plan(const Recipe& recipe);
  absl::Status Open(const std::string& out, bool resume, const std::string& text,
                    const std::vector<std::string>& command_line);
  absl::Status Run();

 private:
  absl::Status RunCell(const Cell& cell);

  const SweepConfig config_;
  const std::string kind_;
  std::vector<Cell> cells_;
  std::unique_ptr<ResultsWriter> results_;
  RowTable rows_;
};

absl::Status Sweep::Plan(const Recipe& recipe) {
  if (config_.models.empty()) {
    return absl::InvalidArgumentError("models is empty: name model folders or finished runs");
  }
  if (config_.draws.empty()) {
    return absl::InvalidArgumentError("draws is empty: give at least one seed");
  }
  ATTNLAB_RETURN_IF_ERROR(ValidateTasks(config_.tasks));
  ATTNLAB_ASSIGN_OR_RETURN(const auto alternatives, recipe.Alternatives("methods"));
  for (const std::string& model : config_.models) {
    cells_.push_back(
        {model, {names::kSweepBaseline, "", nullptr, config_.calibration, false, false}});
    for (const Recipe::Alternative& alternative : alternatives) {
      ATTNLAB_ASSIGN_OR_RETURN(std::shared_ptr<const Method> method,
                               MakeMethod(kind_, alternative.name, alternative.recipe));
      const bool draws = method->needs().inputs || method->needs().text;
      for (const int64_t draw : draws ? config_.draws : std::vector<int64_t>{config_.draws[0]}) {
        Cell cell{model,
                  {alternative.name, alternative.settings, method, config_.calibration,
                   config_.precision == "bfloat16", config_.measure_outputs}};
        cell.job.calibration.seed = draw;
        cells_.push_back(std::move(cell));
      }
    }
  }
  return absl::OkStatus();
}

absl::Status Sweep::Open(const std::string& out, bool resume, const std::string& text,
                         const std::vector<std::string>& command_line) {
  const std::string path = out + "/results.h5";
  std::error_code error;
  if (!fs::exists(path, error)) {
    fs::create_directories(out, error);
    if (error) return ErrnoStatus(error.value(), "cannot make the folder", out);
    ATTNLAB_ASSIGN_OR_RETURN(const at::Device device, ParseDevice(config_.device));
    Provenance provenance = MachineProvenance(device, command_line);
    provenance.recipe = text;
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
  if (results_->results().provenance.recipe != text) {
    return absl::FailedPreconditionError(
        absl::StrCat(out, " is of another recipe; its own stands in /provenance/recipe of ", path,
                     "; give --out another folder"));
  }
  const auto& tables = results_->results().tables;
  if (const auto it = tables.find(names::kSweepTable); it != tables.end())
    rows_ = RowTable(it->second);
  return absl::OkStatus();
}

absl::Status Sweep::RunCell(const Cell& cell) {
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
      add(absl::StrCat(score.task, " ", score.metric), score.higher_is_better ? "higher" : "lower",
          score.score);
    }
  }
  rows_.Add(row);
  results_->WriteTable(names::kSweepTable, rows_.columns());
  return results_->Flush();
}

absl::Status Sweep::Run() {
  size_t done = 0;
  for (const Cell& cell : cells_) {
    ++done;
    const std::string name = absl::StrCat(cell.model, ", ", cell.job.method, " ", cell.job.settings,
                                          ", draw ", cell.job.calibration.seed);
    if (rows_.Has(cell.Key())) continue;
    if (StopRequested()) {
      return absl::CancelledError("stopped by a signal; go on with --resume");
    }
    LogInfo(absl::StrCat("row ", done, " of ", cells_.size(), ": ", name));
    ATTNLAB_RETURN_IF_ERROR(Annotate(RunCell(cell), name));
  }
  return results_ == nullptr ? absl::OkStatus() : results_->Finish("finished");
}

}  // namespace

absl::Status RunSweep(const Recipe& recipe, const std::string& kind, const std::string& out,
                      bool resume, const std::vector<std::string>& command_line) {
  SweepConfig config;
  ATTNLAB_RETURN_IF_ERROR(recipe.Without("methods").Read(config));
  Sweep sweep(config, kind);
  ATTNLAB_RETURN_IF_ERROR(sweep.Plan(recipe));
  std::string text = DumpToml(config) + "\n[methods]\n";
  ATTNLAB_ASSIGN_OR_RETURN(const auto alternatives, recipe.Alternatives("methods"));
  for (const Recipe::Alternative& alternative : alternatives) {
    absl::StrAppend(&text, "# ", alternative.name, " ", alternative.settings, "\n");
  }
  ATTNLAB_RETURN_IF_ERROR(sweep.Open(out, resume, text, command_line));
  return sweep.Run();
}

}  // namespace attnlab
