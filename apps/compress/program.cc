#include "apps/compress/program.h"

#include <filesystem>
#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "apps/cli.h"
#include "apps/compress/job.h"
#include "apps/compress/sweep.h"
#include "apps/subject.h"
#include "libs/compress/method_list.h"
#include "libs/core/log.h"
#include "libs/core/status.h"
#include "libs/recipe/recipe.h"
#include "libs/train/stop_signal.h"

namespace attnlab {
namespace {

struct Flags {
  std::string subject, method, out, device = "auto", precision = "float32";
  std::vector<std::string> values;  // of CompressProgram::flags
  std::vector<std::string> sets;
  CalibrationOptions calibration;
  int64_t jobs = 1;
  bool measure_outputs = false, resume = false, list = false;
};

absl::Status ListMethods(const std::string& kind) {
  for (const MethodInfo& method : Methods(kind)) {
    absl::PrintF("%-12s  %s\n", method.name, method.help);
    for (const MethodSetting& setting : method.settings) {
      absl::PrintF("%-14s%s=%s  %s\n", "", setting.name, setting.value, setting.help);
    }
  }
  return absl::OkStatus();
}

absl::Status RunOne(const CompressProgram& program, const Flags& flags,
                    const std::vector<std::string>& command_line) {
  if (flags.method.empty()) {
    return UsageError(absl::StrCat("give --method one of ",
                                   absl::StrJoin(MethodNames(program.name), ", "),
                                   " (--list says more)"));
  }
  std::vector<std::string> settings;
  for (size_t i = 0; i < program.flags.size(); ++i) {
    if (flags.values[i].empty()) continue;
    const char* quote = program.flags[i].text ? "\"" : "";
    settings.push_back(absl::StrCat(program.flags[i].setting, "=", quote, flags.values[i], quote));
  }
  settings.insert(settings.end(), flags.sets.begin(), flags.sets.end());
  ATTNLAB_ASSIGN_OR_RETURN(const Recipe recipe, Recipe::Parse("", "settings", settings));
  CompressJob job;
  job.method = flags.method;
  job.settings = absl::StrJoin(settings, " ");
  job.calibration = flags.calibration;
  job.bfloat16 = flags.precision == "bfloat16";
  job.measure_outputs = flags.measure_outputs;
  ATTNLAB_ASSIGN_OR_RETURN(job.how, MakeMethod(program.name, flags.method, recipe));
  if (flags.out.empty()) return UsageError("give --out a folder for the new model");
  if (std::filesystem::exists(flags.out)) {
    return absl::AlreadyExistsError(
        absl::StrCat(flags.out, " is there already; give --out another folder or remove it"));
  }

  SubjectOptions options;
  options.model = flags.subject;
  options.device = flags.device;
  options.precision = flags.precision;
  ATTNLAB_ASSIGN_OR_RETURN(Subject subject, OpenSubject(options));
  ATTNLAB_ASSIGN_OR_RETURN(const CompressOutcome outcome, Compress(job, subject));
  ATTNLAB_RETURN_IF_ERROR(
      SaveCompressed(job, subject, outcome, flags.out, program.name, command_line));
  const CompressReport& report = outcome.report;
  LogInfo(absl::StrFormat("%s: %.3f bits a weight, %.2f %% zeros, weight error %.4f, %.1f s",
                          flags.out, report.bits(), 100 * report.sparsity(), report.weight_error(),
                          report.seconds));
  absl::PrintF("%s\n", flags.out);
  return absl::OkStatus();
}

// The first flag that was given although it is of one model; "" when there is none.
std::string FlagOfOneModel(const CompressProgram& program, const Flags& flags) {
  const Flags unset;
  const std::pair<const char*, bool> given[] = {
      {"method", flags.method != unset.method},
      {"calibration", flags.calibration.source != unset.calibration.source},
      {"sequences", flags.calibration.sequences != unset.calibration.sequences},
      {"sequence-length", flags.calibration.sequence_length != unset.calibration.sequence_length},
      {"seed", flags.calibration.seed != unset.calibration.seed},
      {"measure-outputs", flags.measure_outputs},
      {"device", flags.device != unset.device},
      {"precision", flags.precision != unset.precision}};
  for (const auto& [name, is_given] : given) {
    if (is_given) return name;
  }
  for (size_t i = 0; i < flags.values.size(); ++i) {
    if (!flags.values[i].empty()) return program.flags[i].flag;
  }
  return "";
}

absl::Status Run(const CompressProgram& program, const Flags& flags,
                 const std::vector<std::string>& command_line) {
  if (flags.list) return ListMethods(program.name);
  if (flags.subject.empty()) {
    return UsageError("give a MODEL to compress, or the recipe of a sweep");
  }
  if (!absl::EndsWith(flags.subject, ".toml")) return RunOne(program, flags, command_line);
  if (const std::string flag = FlagOfOneModel(program, flags); !flag.empty()) {
    return UsageError(
        absl::StrCat("--", flag,
                     " is of one model; a sweep's recipe says it, and --set changes the recipe: "
                     "--set calibration.NAME.sequences=16"));
  }
  ATTNLAB_ASSIGN_OR_RETURN(const Recipe recipe, Recipe::Load(flags.subject, flags.sets));
  const std::string stem = std::filesystem::path(flags.subject).stem().string();
  const std::string out = flags.out.empty() ? absl::StrCat("runs/", stem) : flags.out;
  CatchStopSignals();
  ATTNLAB_RETURN_IF_ERROR(
      RunSweep(recipe, program.name, out, flags.resume, flags.jobs, command_line));
  absl::PrintF("%s\n", out);
  return absl::OkStatus();
}

}  // namespace

int RunCompressProgram(const CompressProgram& program, int argc, char** argv) {
  Flags flags;
  flags.values.resize(program.flags.size());
  Cli cli(program.name, program.description, program.examples);
  cli.OptionalPositional("MODEL", flags.subject,
                         "model folder, folder of a finished run, or recipe.toml of a sweep");
  cli.Option("method", flags.method, "how, see --list");
  for (size_t i = 0; i < program.flags.size(); ++i) {
    cli.Option(program.flags[i].flag, flags.values[i], program.flags[i].help);
  }
  cli.Repeated("set", flags.sets,
               "setting=value of the method; of a sweep, section.key=value of the recipe, e.g. "
               "calibration.NAME.seeds=[0,1,2]");
  cli.Option("calibration", flags.calibration.source,
             "folder that `prepare` wrote; empty = the text that the model was trained on");
  cli.Option("sequences", flags.calibration.sequences, "calibration sequences");
  cli.Option("sequence-length", flags.calibration.sequence_length,
             "their tokens; 0 = as the model was trained");
  cli.Option("seed", flags.calibration.seed, "which calibration sequences are drawn");
  cli.Flag("measure-outputs", flags.measure_outputs,
           "measure output errors even when the method needs no calibration text");
  cli.Option("device", flags.device, "auto, cpu, cuda or cuda:N");
  cli.Option("precision", flags.precision,
             "of the passes over the calibration text: float32 or bfloat16");
  cli.Option("out", flags.out, "folder of the new model, or of the sweep (runs/RECIPE)");
  cli.Option("jobs", flags.jobs,
             "rows of a sweep that are computed at the same time, on the GPUs in turn");
  cli.Flag("resume", flags.resume, "go on with a sweep that was stopped");
  cli.Flag("list", flags.list, "show the methods with their settings and exit");
  const std::vector<std::string> command_line(argv, argv + argc);
  return cli.Run(argc, argv, [&] { return Run(program, flags, command_line); });
}

}  // namespace attnlab
