// A disk without room: what was written before stays, and the run goes on when there is room again.
// It is played by a limit on the size of a file (EFBIG where a full disk gives ENOSPC) and, where
// that is allowed, by a small file system.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <thread>

#include "libs/io/result_names.h"
#include "libs/io/results.h"
#include "tests/apps/program.h"

namespace attnlab {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

std::vector<std::string> FilesOf(const std::string& folder) {
  std::vector<std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) files.push_back(entry.path().string());
  }
  return files;
}

class FullDiskTest : public testing::Test {
 protected:
  FullDiskTest() { WriteText(recipe_, TinyRecipe()); }

  Outcome Train(const std::string& run, bool resume, int64_t largest_file = 0) const {
    std::vector<std::string> arguments = {recipe_, "--out", folder_ / run};
    if (resume) arguments.push_back("--resume");
    return RunProgram("train", arguments, largest_file);
  }

  // Trains against a limit, then without one; the result is the undisturbed run's.
  void FailAndGoOn(int64_t largest_file) const {
    SCOPED_TRACE(largest_file);
    const std::string run = "run" + std::to_string(largest_file);
    const Outcome outcome = Train(run, false, largest_file);
    EXPECT_EQ(outcome.exit_code, 1) << outcome.err;
    ASSERT_EQ(outcome.ErrorLines().size(), 1u) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr(folder_ / run));
    EXPECT_THAT(outcome.err, HasSubstr("File too large; free some space and run it again"));
    for (const std::string& file : FilesOf(folder_ / run)) EXPECT_THAT(file, Not(HasSubstr("tmp")));
    if (fs::exists(folder_ / run + "/results.h5")) {
      const absl::StatusOr<RunResults> results = ReadResults(folder_ / run);
      EXPECT_TRUE(results.ok()) << results.status();
    }
    const Outcome resumed = Train(run, true);
    ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
    const std::string weights = "/model/model.safetensors";
    EXPECT_TRUE(ReadText(folder_ / run + weights) == ReadText(folder_ / "whole" + weights));
  }

  // Of a longer run.
  std::vector<std::string> Arguments(const std::string& run, bool resume) const {
    std::vector<std::string> arguments = {recipe_, "--out", run, "--set", "train.steps=400"};
    if (resume) arguments.push_back("--resume");
    return arguments;
  }

  // Starts that run and stops it when it has a checkpoint.
  void StopInTheMiddle(const std::string& run) const {
    Program program("train", Arguments(run, false));
    while (program.Running() && !fs::exists(run + "/checkpoints")) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    program.Signal(SIGTERM);
    const Outcome outcome = program.Wait();
    ASSERT_EQ(outcome.exit_code, 1) << outcome.err;
  }

  static std::vector<double> Losses(const std::string& run) {
    const absl::StatusOr<RunResults> results = ReadResults(run);
    EXPECT_TRUE(results.ok()) << results.status();
    return results.ok() ? results->series.at(names::kTrainLoss).values : std::vector<double>();
  }

  TestFolder folder_;
  const std::string recipe_ = folder_ / "tiny.toml";
};

TEST_F(FullDiskTest, GoesOnWhenThereIsRoomAgain) {
  ASSERT_EQ(Train("whole", false).exit_code, 0);
  const int64_t weights = fs::file_size(folder_ / "whole/model/model.safetensors");
  const int64_t record = fs::file_size(folder_ / "whole/results.h5");
  FailAndGoOn(3000);         // the recipe fits, the first results.h5 does not
  FailAndGoOn(weights + 1);  // the moments of a checkpoint do not fit, or results.h5 does not
  FailAndGoOn(record - 1);   // the last results.h5 does not fit
}

TEST_F(FullDiskTest, EarlierCheckpointAndRowsStay) {
  const std::string run = "run";
  StopInTheMiddle(folder_ / run);
  const std::vector<std::string> before = FilesOf(folder_ / run + "/checkpoints");
  const std::vector<double> losses = Losses(folder_ / run);
  ASSERT_FALSE(before.empty() || losses.empty());
  const Outcome outcome = RunProgram("train", Arguments(folder_ / run, true), 4096);
  EXPECT_EQ(outcome.exit_code, 1) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("File too large"));
  EXPECT_EQ(FilesOf(folder_ / run + "/checkpoints"), before);
  EXPECT_EQ(Losses(folder_ / run), losses);
}

// A file system of 2 MB in memory, seen by this process and the programs that it starts alone.
bool MountSmallDisk(const std::string& path) {
  const auto uid = getuid(), gid = getgid();
  if (unshare(CLONE_NEWNS) != 0) {
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return false;
    WriteText("/proc/self/setgroups", "deny");
    WriteText("/proc/self/uid_map", "0 " + std::to_string(uid) + " 1");
    WriteText("/proc/self/gid_map", "0 " + std::to_string(gid) + " 1");
  }
  fs::create_directory(path);
  return mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
         mount("none", path.c_str(), "tmpfs", 0, "size=2m") == 0;
}

TEST_F(FullDiskTest, SmallFileSystem) {
  const std::string disk = folder_ / "disk", run = disk + "/run";
  if (!MountSmallDisk(disk)) GTEST_SKIP() << "no right to mount a file system";
  ASSERT_EQ(RunProgram("train", Arguments(folder_ / "whole", false)).exit_code, 0);
  StopInTheMiddle(run);
  const size_t rows = Losses(run).size();
  // 48 kB are left: too few for what the rest of the run writes.
  WriteText(disk + "/filler", std::string(fs::space(disk).available - 48 * 1024, 'x'));
  const Outcome outcome = RunProgram("train", Arguments(run, true));
  EXPECT_EQ(outcome.exit_code, 1) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("No space left on device; free some space"));
  EXPECT_GE(Losses(run).size(), rows);

  fs::remove(disk + "/filler");
  const Outcome resumed = RunProgram("train", Arguments(run, true));
  EXPECT_EQ(resumed.exit_code, 0) << resumed.err;
  EXPECT_EQ(Losses(run), Losses(folder_ / "whole"));
  const std::string weights = "/model/model.safetensors";
  EXPECT_TRUE(ReadText(run + weights) == ReadText(folder_ / "whole" + weights));
  umount(disk.c_str());
}

}  // namespace
}  // namespace attnlab
