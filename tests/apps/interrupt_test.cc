// Training that is killed or asked to stop: it goes on bit for bit, and its record is never lost.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>

#include <chrono>
#include <filesystem>
#include <random>
#include <thread>

#include "libs/io/result_names.h"
#include "libs/io/results.h"
#include "tests/apps/program.h"

namespace attnlab {
namespace {

using Clock = std::chrono::steady_clock;

// Which file `path` is at the moment: a flush replaces the whole file. 0 when there is none.
ino_t Inode(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0 ? info.st_ino : 0;
}

// A recipe, the run of it that nothing disturbed, and runs that are compared with it.
class InterruptTest : public testing::Test {
 protected:
  // Trains the undisturbed run; `steps` replaces those of the recipe.
  void TrainReference(int64_t steps) {
    WriteText(recipe_, TinyRecipe());
    steps_ = "train.steps=" + std::to_string(steps);
    Program program("train", Arguments("reference", false));
    AwaitFlush(program, folder_ / "reference/results.h5", 0);
    const auto start = Clock::now();
    const Outcome outcome = program.Wait();
    training_time_ = Clock::now() - start;
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    reference_ = Rows("reference");
    ASSERT_EQ(reference_.steps.size(), static_cast<size_t>(steps));
  }

  std::vector<std::string> Arguments(const std::string& run, bool resume) const {
    std::vector<std::string> arguments = {recipe_, "--out", folder_ / run, "--set", steps_};
    if (resume) arguments.push_back("--resume");
    return arguments;
  }

  // Waits until the program has replaced results.h5, whose inode was `before`, or has ended.
  static void AwaitFlush(Program& program, const std::string& results, ino_t before) {
    while (program.Running() && Inode(results) == before) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

  // The training losses that a run has recorded; none before its first flush.
  Series Rows(const std::string& run) const {
    const std::string path = folder_ / run + "/results.h5";
    if (Inode(path) == 0) return {};
    const absl::StatusOr<RunResults> results = ReadResults(path);
    EXPECT_TRUE(results.ok()) << results.status();
    if (!results.ok()) return {};
    const auto found = results->series.find(names::kTrainLoss);
    return found == results->series.end() ? Series() : found->second;
  }

  // The rows are the first `rows.steps.size()` of the undisturbed run, bit for bit.
  void ExpectPrefix(const Series& rows) const {
    ASSERT_LE(rows.steps.size(), reference_.steps.size());
    for (size_t i = 0; i < rows.steps.size(); ++i) {
      ASSERT_EQ(rows.steps[i], reference_.steps[i]);
      ASSERT_EQ(rows.values[i], reference_.values[i]) << "at step " << rows.steps[i];
    }
  }

  // The run is finished and is the undisturbed one.
  void ExpectSame(const std::string& run, const std::string& reference = "reference") const {
    const absl::StatusOr<RunResults> results = ReadResults(folder_ / run);
    const absl::StatusOr<RunResults> expected = ReadResults(folder_ / reference);
    ASSERT_TRUE(results.ok() && expected.ok()) << results.status() << expected.status();
    EXPECT_EQ(results->status, "finished");
    for (const auto& [name, series] : expected->series) {
      if (name == names::kTokensPerSecond) continue;
      EXPECT_EQ(results->series.at(name).steps, series.steps) << name;
      EXPECT_EQ(results->series.at(name).values, series.values) << name;
      EXPECT_EQ(results->series.at(name).info.unit, series.info.unit) << name;
    }
    for (const auto& [name, metric] : expected->metrics) {
      EXPECT_EQ(results->metrics.at(name).value, metric.value) << name;
    }
    const std::string model = "/model/model.safetensors";
    EXPECT_TRUE(ReadText(folder_ / run + model) == ReadText(folder_ / reference + model))
        << "the weights differ";
    EXPECT_FALSE(std::filesystem::exists(folder_ / run + "/checkpoints"));
  }

  TestFolder folder_;
  const std::string recipe_ = folder_ / "tiny.toml";
  std::string steps_;
  Series reference_;
  Clock::duration training_time_{};
};

TEST_F(InterruptTest, SurvivesTwentyKills) {
  TrainReference(60);
  ASSERT_FALSE(HasFatalFailure());
  std::mt19937 random(1);
  std::uniform_real_distribution<double> share(0, 0.4);
  int run = 0, lives = 0;
  for (int kills = 0; kills < 20; ++lives) {
    ASSERT_LT(lives, 100) << "the run ends before it can be killed";
    const std::string name = "run" + std::to_string(run), results = folder_ / name + "/results.h5";
    const ino_t before = Inode(results);
    Program program("train", Arguments(name, true));
    // One in four is killed while it starts, the others while they train. (A run that starts again
    // drops the rows after its checkpoint before it makes them anew.)
    const bool trains = lives % 4 != 3;
    if (trains) AwaitFlush(program, results, before);
    std::this_thread::sleep_for(share(random) * training_time_);
    const Series seen = Rows(name);  // of a file that is being replaced all the time
    program.Signal(SIGKILL);
    const Outcome outcome = program.Wait();
    const Series rows = Rows(name);
    if (trains) {
      ASSERT_GE(rows.steps.size(), seen.steps.size()) << "rows that were on the disk are lost";
    }
    ASSERT_NO_FATAL_FAILURE(ExpectPrefix(rows));
    if (outcome.signal == SIGKILL) {
      ++kills;
    } else {
      ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
      ASSERT_NO_FATAL_FAILURE(ExpectSame(name));
      ++run;
    }
  }
  const std::string name = "run" + std::to_string(run);
  const Outcome outcome = RunProgram("train", Arguments(name, true));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  ExpectSame(name);
}

TEST_F(InterruptTest, SigtermSavesAndEnds) {
  TrainReference(300);
  ASSERT_FALSE(HasFatalFailure());
  const std::string results = folder_ / "run/results.h5";
  Program program("train", Arguments("run", false));
  AwaitFlush(program, results, 0);
  std::this_thread::sleep_for(0.2 * training_time_);
  program.Signal(SIGTERM);
  const Outcome outcome = program.Wait();
  EXPECT_EQ(outcome.exit_code, 1);
  ASSERT_EQ(outcome.ErrorLines().size(), 1u) << outcome.err;
  EXPECT_THAT(outcome.err, testing::HasSubstr("--resume"));
  const Series rows = Rows("run");
  ASSERT_FALSE(rows.steps.empty());
  EXPECT_LT(rows.steps.size(), 300u);
  ExpectPrefix(rows);
  // The checkpoint is of the last step that was done, not of an earlier one.
  char checkpoint[64];
  snprintf(checkpoint, sizeof checkpoint, "run/checkpoints/step-%08d/state.json",
           static_cast<int>(rows.steps.back()));
  EXPECT_TRUE(std::filesystem::exists(folder_ / checkpoint)) << checkpoint;

  const Outcome resumed = RunProgram("train", Arguments("run", true));
  ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
  ExpectSame("run");
}

// The parent of a sweep's runs is told to stop; it tells both, and each saves.
TEST_F(InterruptTest, SigtermStopsTheRunsOfASweep) {
  WriteText(recipe_, TinyRecipe());
  steps_ = "train.steps=300";
  const auto sweep = [&](const std::string& out, bool resume) {
    std::vector<std::string> arguments = Arguments(out, resume);
    arguments.insert(arguments.end(), {"--set", "sweep.seed=[1,2]", "--jobs", "2"});
    return arguments;
  };
  const Outcome whole = RunProgram("train", sweep("reference", false));
  ASSERT_EQ(whole.exit_code, 0) << whole.err;
  std::vector<std::string> runs;
  for (const auto& entry : std::filesystem::directory_iterator(folder_ / "reference")) {
    runs.push_back("/" + entry.path().filename().string());
  }
  ASSERT_EQ(runs.size(), 2u);

  Program program("train", sweep("stopped", false));
  for (const std::string& run : runs) {
    AwaitFlush(program, folder_ / "stopped" + run + "/results.h5", 0);
  }
  program.Signal(SIGTERM);
  const Outcome stopped = program.Wait();
  EXPECT_EQ(stopped.exit_code, 1);
  EXPECT_THAT(stopped.err, testing::AllOf(testing::HasSubstr("--resume"),
                                          testing::HasSubstr("2 of 2 jobs did not finish")));
  for (const std::string& run : runs) {
    EXPECT_TRUE(std::filesystem::exists(folder_ / "stopped" + run + "/checkpoints")) << run;
    EXPECT_FALSE(std::filesystem::exists(folder_ / "stopped" + run + "/model")) << run;
  }

  const Outcome resumed = RunProgram("train", sweep("stopped", true));
  ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
  for (const std::string& run : runs) ExpectSame("stopped" + run, "reference" + run);
}

// The implementation of attention is no part of a model folder; the resumed run keeps it.
TEST_F(InterruptTest, ResumesWithTheRecipesAttention) {
  const std::vector<std::string> sets = {"--set", "model.attention.implementation=reference",
                                         "--set", "train.micro_batch=2"};
  WriteText(recipe_, TinyRecipe());
  steps_ = "train.steps=200";
  const auto with_sets = [&](const std::string& run, bool resume) {
    std::vector<std::string> arguments = Arguments(run, resume);
    arguments.insert(arguments.end(), sets.begin(), sets.end());
    return arguments;
  };
  ASSERT_EQ(RunProgram("train", with_sets("reference", false)).exit_code, 0);
  Program program("train", with_sets("run", false));
  AwaitFlush(program, folder_ / "run/results.h5", 0);
  program.Signal(SIGTERM);
  ASSERT_EQ(program.Wait().exit_code, 1);
  ASSERT_EQ(RunProgram("train", with_sets("run", true)).exit_code, 0);
  ExpectSame("run");
}

}  // namespace
}  // namespace attnlab
