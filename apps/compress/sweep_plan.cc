#include "apps/compress/sweep_plan.h"

#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "apps/subject.h"
#include "libs/compress/method_list.h"
#include "libs/core/status.h"
#include "libs/eval/tasks.h"
#include "libs/io/result_names.h"

namespace attnlab {
namespace {

constexpr char kDefaultSet[] = "training";

// What an entry of [methods] says beside its settings.
struct EntryOptions {
  std::string calibration;

  template <class Visitor>
  void ForEach(Visitor&& visit) {
    visit("calibration", calibration, "name of the one set to use; empty: every set");
  }
};

absl::StatusOr<std::vector<Recipe::Alternative>> MethodEntries(const Recipe& recipe) {
  return recipe.Alternatives("methods", {"calibration"});
}

absl::Status CheckConfig(const SweepConfig& config) {
  if (config.models.empty()) {
    return absl::InvalidArgumentError("models is empty: name model folders or finished runs");
  }
  for (const auto& [name, set] : config.calibration) {
    if (!set.seeds.empty()) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("calibration.", name, ".seeds is empty: give at least one"));
  }
  return ValidateTasks(config.tasks);
}

// The rows of one model with one entry of [methods].
absl::Status PlanMethod(const SweepConfig& config, const std::string& kind,
                        const std::string& model, const Recipe::Alternative& entry,
                        std::vector<SweepCell>& cells) {
  const auto& sets = config.calibration;
  EntryOptions options;
  ATTNLAB_RETURN_IF_ERROR(
      Annotate(entry.apart.Read(options), absl::StrCat("methods.", entry.name)));
  ATTNLAB_ASSIGN_OR_RETURN(std::shared_ptr<const Method> method,
                           MakeMethod(kind, entry.name, entry.recipe));
  const std::string& wanted = options.calibration;
  const bool looks = method->needs().any();
  if (!wanted.empty() && (!looks || !sets.contains(wanted))) {
    std::vector<std::string> known;
    for (const auto& [set, text] : sets) known.push_back(set);
    return absl::InvalidArgumentError(
        absl::StrCat("methods.", entry.name, ": calibration = \"", wanted, "\"",
                     looks ? " is none of the sets: " : ", but it looks at no text",
                     looks ? absl::StrJoin(known, ", ") : ""));
  }
  const CalibrationSet& outputs = sets.begin()->second;
  SweepCell cell{model,
                 {entry.name, entry.settings, method, outputs.Draw(outputs.seeds[0]),
                  config.precision == "bfloat16", config.measure_outputs},
                 "",
                 ""};
  if (!looks) cells.push_back(cell);
  for (const auto& [set, text] : sets) {
    if (!looks || (!wanted.empty() && set != wanted)) continue;
    for (const int64_t seed : text.seeds) {
      cell.job.calibration = text.Draw(seed);
      cell.set = set;
      cell.draw = absl::StrCat(seed);
      cells.push_back(cell);
    }
  }
  return absl::OkStatus();
}

// The resolved recipe, the entries of [methods] as comments.
absl::StatusOr<std::string> RecordedText(const SweepConfig& config,
                                         const std::vector<Recipe::Alternative>& entries) {
  std::string text = DumpToml(config) + "\n[methods]\n";
  for (const Recipe::Alternative& entry : entries) {
    EntryOptions options;
    ATTNLAB_RETURN_IF_ERROR(entry.apart.Read(options));
    const std::string set =
        options.calibration.empty() ? "" : absl::StrCat(" calibration=", options.calibration);
    absl::StrAppend(&text, "# ", entry.name, " ", entry.settings, set, "\n");
  }
  return text;
}

}  // namespace

std::vector<std::pair<std::string, std::string>> SweepCell::Key() const {
  return {{"model", model},
          {"method", job.method},
          {"settings", job.settings},
          {"calibration", set},
          {"draw", draw}};
}

std::string SweepCell::Name() const {
  std::string name = absl::StrCat(model, ", ", job.method);
  if (!job.settings.empty()) absl::StrAppend(&name, " ", job.settings);
  if (!set.empty()) absl::StrAppend(&name, ", calibration ", set, ", seed ", draw);
  return name;
}

absl::StatusOr<SweepPlan> PlanSweep(const Recipe& recipe, const std::string& kind) {
  SweepPlan plan;
  ATTNLAB_RETURN_IF_ERROR(recipe.Without("methods").Read(plan.config));
  if (plan.config.calibration.empty()) plan.config.calibration[kDefaultSet];
  ATTNLAB_RETURN_IF_ERROR(CheckConfig(plan.config));
  ATTNLAB_ASSIGN_OR_RETURN(const auto entries, MethodEntries(recipe));
  for (const std::string& model : plan.config.models) {
    plan.cells.push_back({model, {.method = names::kSweepBaseline}, "", ""});
    for (const Recipe::Alternative& entry : entries) {
      ATTNLAB_RETURN_IF_ERROR(PlanMethod(plan.config, kind, model, entry, plan.cells));
    }
  }
  ATTNLAB_ASSIGN_OR_RETURN(plan.text, RecordedText(plan.config, entries));
  return plan;
}

SubjectOptions RowSubject(const SweepConfig& config, const std::string& model) {
  SubjectOptions options;
  options.model = model;
  options.data = config.data;
  options.task_files = ReadsTaskFiles(config.tasks);
  options.device = config.device;
  options.precision = config.precision;
  options.limit = config.limit;
  return options;
}

absl::Status CheckInputs(const SweepPlan& plan) {
  std::map<std::string, std::map<std::string, const SweepCell*>> first;  // by model and set
  for (const SweepCell& cell : plan.cells) {
    auto& sets = first[cell.model];
    if (!cell.set.empty()) sets.emplace(cell.set, &cell);
  }
  for (const auto& [model, sets] : first) {
    SubjectOptions options = RowSubject(plan.config, model);
    options.device = "cpu";
    ATTNLAB_ASSIGN_OR_RETURN(const Subject subject, OpenSubject(options));
    for (const auto& [set, cell] : sets) {
      ATTNLAB_RETURN_IF_ERROR(Annotate(CalibrationText(cell->job, subject).status(),
                                       absl::StrCat(model, ", calibration ", set)));
    }
  }
  return absl::OkStatus();
}

}  // namespace attnlab
