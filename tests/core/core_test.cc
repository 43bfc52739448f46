#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <set>

#include "libs/core/files.h"
#include "libs/core/progress.h"
#include "libs/core/rng.h"
#include "libs/core/status.h"

namespace attnlab {
namespace {

std::string TempPath(const std::string& name) {
  return ::testing::TempDir() + "/attnlab_core_" + name;
}

TEST(Status, ExitCodes) {
  EXPECT_EQ(ExitCode(absl::OkStatus()), kExitDone);
  EXPECT_EQ(ExitCode(absl::InvalidArgumentError("x")), kExitBadInput);
  EXPECT_EQ(ExitCode(absl::DataLossError("x")), kExitBadInput);
  EXPECT_EQ(ExitCode(ErrnoStatus(ENOSPC, "write", "f")), kExitFailed);
  EXPECT_EQ(ExitCode(ErrnoStatus(ENOENT, "open", "f")), kExitBadInput);
}

TEST(Status, AnnotateKeepsTheCode) {
  const absl::Status status = Annotate(absl::NotFoundError("no such key"), "recipe.toml:3");
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(status.message(), "recipe.toml:3: no such key");
}

TEST(Rng, StreamsAreReproducibleAndApart) {
  EXPECT_EQ(Rng(1, "order", 7).Next(), Rng(1, "order", 7).Next());
  std::set<uint64_t> firsts;
  for (uint64_t seed = 0; seed < 10; ++seed) {
    for (const char* name : {"order", "init", ""}) {
      for (uint64_t index = 0; index < 10; ++index) firsts.insert(Rng(seed, name, index).Next());
    }
  }
  EXPECT_EQ(firsts.size(), 300u);
}

TEST(Rng, MomentsAndBounds) {
  Rng rng(3, "moments");
  double sum = 0, square = 0, fourth = 0;
  constexpr int kDraws = 200000;
  for (int i = 0; i < kDraws; ++i) {
    const double x = rng.Normal();
    sum += x, square += x * x, fourth += x * x * x * x;
  }
  EXPECT_NEAR(sum / kDraws, 0, 0.01);
  EXPECT_NEAR(square / kDraws, 1, 0.02);
  EXPECT_NEAR(fourth / kDraws, 3, 0.15);
  std::vector<int> counts(7);
  for (int i = 0; i < 70000; ++i) ++counts[rng.Below(7)];
  for (const int count : counts) EXPECT_NEAR(count, 10000, 500);
}

TEST(Rng, ShuffleIsAPermutation) {
  std::vector<int> values(100);
  for (int i = 0; i < 100; ++i) values[i] = i;
  Rng(1, "shuffle").Shuffle(values);
  EXPECT_NE(values[0] * 100 + values[1], 1);
  EXPECT_EQ(std::set<int>(values.begin(), values.end()).size(), 100u);
}

TEST(Files, Sha256OfKnownStrings) {
  const std::string path = TempPath("sha");
  ASSERT_TRUE(WriteFileAtomically(path, "abc").ok());
  EXPECT_EQ(*Sha256OfFile(path),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  ASSERT_TRUE(WriteFileAtomically(path, "").ok());
  EXPECT_EQ(*Sha256OfFile(path),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST(Files, MissingFileSaysWhatAndWhere) {
  const auto contents = ReadFile("/nonexistent/file");
  EXPECT_EQ(contents.status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(contents.status().message(),
            "cannot open /nonexistent/file: No such file or directory");
}

TEST(Files, AWriteThatFailsLeavesTheOldFile) {
  const std::string path = TempPath("full");
  ASSERT_TRUE(WriteFileAtomically(path, "old").ok());
  // A limit on the size of files stands for a full disk: write fails part of the way.
  rlimit old_limit;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old_limit), 0);
  const rlimit small{4096, old_limit.rlim_max};
  signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const absl::Status status = WriteFileAtomically(path, std::string(100000, 'x'));
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &old_limit), 0);
  EXPECT_FALSE(status.ok());
  EXPECT_EQ(*ReadFile(path), "old");
  EXPECT_FALSE(std::filesystem::exists(path + ".tmp"));
}

TEST(Files, MapsWholeFiles) {
  const std::string path = TempPath("map");
  ASSERT_TRUE(WriteFileAtomically(path, "hello").ok());
  const auto file = MappedFile::Open(path);
  ASSERT_TRUE(file.ok());
  EXPECT_EQ((*file)->bytes().size(), 5u);
  EXPECT_FALSE(MappedFile::Open(::testing::TempDir()).ok());
}

TEST(Progress, Formats) {
  EXPECT_EQ(FormatDuration(12.4), "12s");
  EXPECT_EQ(FormatDuration(185), "3m 05s");
  EXPECT_EQ(FormatDuration(3720), "1h 02m");
  EXPECT_EQ(FormatCount(1234567), "1.23M");
  EXPECT_EQ(FormatCount(15360), "15.36k");
  EXPECT_EQ(FormatCount(999), "999");
  EXPECT_EQ(FormatCount(0.5), "0.50");
}

}  // namespace
}  // namespace attnlab
