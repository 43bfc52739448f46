// train RECIPE: trains the runs of a recipe, each into a folder of its own.

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "apps/cli.h"
#include "apps/jobs.h"
#include "libs/core/log.h"
#include "libs/core/status.h"
#include "libs/model/runtime.h"
#include "libs/recipe/recipe.h"
#include "libs/train/stop_signal.h"
#include "libs/train/trainer.h"

namespace attnlab {
namespace {

struct Flags {
  std::string recipe, out, device;
  std::vector<std::string> sets;
  int64_t jobs = 1;
  bool resume = false, print_recipe = false;
};

// "experiments/quickstart/quickstart.toml" -> "runs/quickstart".
std::string DefaultOut(const std::string& recipe) {
  const size_t slash = recipe.rfind('/');
  const std::string file = slash == std::string::npos ? recipe : recipe.substr(slash + 1);
  return absl::StrCat("runs/", file.substr(0, file.rfind('.')));
}

absl::Status Run(const Flags& flags, const std::vector<std::string>& command_line) {
  std::vector<std::string> sets = flags.sets;
  if (!flags.device.empty()) sets.push_back(absl::StrCat("device=\"", flags.device, "\""));
  ATTNLAB_ASSIGN_OR_RETURN(const Recipe recipe, Recipe::Load(flags.recipe, sets));
  ATTNLAB_ASSIGN_OR_RETURN(const std::vector<Recipe::Cell> cells, recipe.Cells());

  // Every run is read and checked before the first one starts.
  std::vector<RunConfig> configs(cells.size());
  for (size_t i = 0; i < cells.size(); ++i) {
    ATTNLAB_RETURN_IF_ERROR(cells[i].recipe.Read(configs[i]));
    ATTNLAB_RETURN_IF_ERROR(Annotate(Validate(configs[i]), flags.recipe));
  }
  if (flags.print_recipe) {
    for (size_t i = 0; i < cells.size(); ++i) {
      if (!cells[i].name.empty()) absl::PrintF("# run %s\n", cells[i].name);
      absl::PrintF("%s\n", DumpToml(configs[i]));
    }
    return absl::OkStatus();
  }

  const std::string out = flags.out.empty() ? DefaultOut(flags.recipe) : flags.out;
  CatchStopSignals();
  const auto train = [&](size_t i) -> absl::Status {
    const std::string folder = cells[i].name.empty() ? out : absl::StrCat(out, "/", cells[i].name);
    if (flags.jobs > 1) TakeOneGpu(configs[i].device, i);
    if (cells.size() > 1) LogInfo(absl::StrCat("run ", i + 1, " of ", cells.size(), ": ", folder));
    ATTNLAB_RETURN_IF_ERROR(Train(configs[i], {folder, flags.resume, command_line}));
    absl::PrintF("%s\n", folder);
    return absl::OkStatus();
  };
  return RunJobs({cells.size(), flags.jobs, train, {}, StopRequested});
}

}  // namespace
}  // namespace attnlab

int main(int argc, char** argv) {
  attnlab::Flags flags;
  attnlab::Cli cli("train", "Trains the runs of a recipe and records them in HDF5.",
                   {"train experiments/quickstart/quickstart.toml --jobs 2",
                    "train experiments/quickstart/quickstart.toml --set sweep.seed=[1,2,3] "
                    "--out runs/three-seeds",
                    "train experiments/quickstart/quickstart.toml --out runs/long --set "
                    "train.steps=5000",
                    "train experiments/quickstart/quickstart.toml --out runs/long --set "
                    "train.steps=5000 --resume"});
  cli.Positional("RECIPE", flags.recipe, "TOML file that says everything about the runs");
  cli.Repeated("set", flags.sets,
               "section.key=value, value as TOML; replaces what the recipe says");
  cli.Option("out", flags.out, "folder of the run, or of the runs of a sweep (runs/RECIPE)");
  cli.Option("device", flags.device, "auto, cpu, cuda or cuda:N, whatever the recipe says");
  cli.Option("jobs", flags.jobs, "runs of a sweep that train at the same time, on the GPUs in turn");
  cli.Flag("resume", flags.resume, "go on with unfinished runs, leave finished ones");
  cli.Flag("print-recipe", flags.print_recipe, "print the resolved recipe of each run and exit");
  const std::vector<std::string> command_line(argv, argv + argc);
  return cli.Run(argc, argv, [&] { return attnlab::Run(flags, command_line); });
}
