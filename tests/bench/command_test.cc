// The command line of bench: what it refuses, with which exit code, and a run on the CPU.
#include <ATen/Context.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/io/results.h"
#include "tests/apps/program.h"

namespace attnlab {
namespace {

using testing::HasSubstr;

constexpr int kUsage = 2, kBadInput = 3;

// `bench ARGUMENTS` ends with `exit_code` and one line on standard error that has `part`.
void ExpectError(const std::vector<std::string>& arguments, int exit_code,
                 const std::string& part) {
  const Outcome outcome = RunProgram("bench", arguments);
  EXPECT_EQ(outcome.exit_code, exit_code) << outcome.err;
  const std::vector<std::string> lines = outcome.ErrorLines();
  ASSERT_EQ(lines.size(), 1u) << outcome.err;
  EXPECT_THAT(lines[0], HasSubstr(part));
}

TEST(BenchCommandTest, NamesWhatItDoesNotKnow) {
  ExpectError({"training"}, kUsage, "no command training; there are attention, decode");
  ExpectError({"attention", "--device", "cpu", "--variants", "softmux"}, kBadInput,
              "--variants: no softmux; there are softmax, ");
  ExpectError({"attention", "--compile", "--kernels", "volta"}, kBadInput,
              "--kernels: no volta; there are best, all, hopper, mma, oracle");
  ExpectError({"attention", "--compile", "--dtype", "int8"}, kBadInput, "--dtype: no int8");
  ExpectError({"attention", "--device", "cpu", "--mask", "window"}, kBadInput, "--mask: no window");
  ExpectError({"attention", "--device", "cpu", "--dim", "0"}, kBadInput,
              "--dim: 0 is not a whole number from 1 on");
  ExpectError({"attention", "--device", "tpu"}, kBadInput, "unknown device \"tpu\"");
  ExpectError({"attention", "--device", "cuda:99"}, kBadInput, "device cuda:99 is not there");
}

TEST(BenchCommandTest, RefusesWhatDoesNotGoTogether) {
  ExpectError({"attention", "--device", "cpu", "--dead", "0.5"}, kBadInput, "for a CUDA device");
  ExpectError({"attention", "--compile", "--dead", "1.5"}, kBadInput, "--dead: 1.5 is no share");
  ExpectError({"attention", "--compile", "--slope", "0.1", "--variants", "relu"}, kBadInput,
              "--slope: the scores of relu do not depend on distance");
  ExpectError({"attention", "--compile", "--slope", "0.1", "--dead", "0.5"}, kBadInput,
              "leave --dead and --inputs out");
  ExpectError({"attention", "--compile", "--dead", "0.5", "--variants", "softmax"}, kBadInput,
              "softmax gives no score the weight 0");
  ExpectError({"attention", "--compile", "--inputs", "trained"}, kBadInput,
              "neither random nor trained:MODEL");
  ExpectError({"attention", "--compile", "--inputs", "trained:x", "--dead", "0.5"}, kBadInput,
              "leave --inputs out");
  ExpectError({"decode", "--device", "cpu"}, kBadInput, "needs a CUDA device");
}

TEST(BenchCommandTest, WithoutADeviceItSaysSo) {
  if (at::hasCUDA()) GTEST_SKIP() << "there is a CUDA device";
  ExpectError({"attention", "--device", "cuda"}, kBadInput, "LibTorch sees 0 GPUs");
  ExpectError({"decode"}, kBadInput, "needs a CUDA device");
}

TEST(BenchCommandTest, HelpOfEachCommand) {
  EXPECT_THAT(RunProgram("bench", {"--help"}).out, HasSubstr("attention or decode"));
  EXPECT_THAT(RunProgram("bench", {"attention", "--help"}).out, HasSubstr("--dead"));
  EXPECT_THAT(RunProgram("bench", {"decode", "--help"}).out, HasSubstr("--kv-heads"));
}

TEST(BenchCommandTest, OnACpuItPrintsAndRecords) {
  const TestFolder folder;
  const std::string out = folder / "run";
  const std::vector<std::string> arguments = {
      "attention",   "--device", "cpu",     "--variants", "softpick,relu", "--tokens", "64,96",
      "--dim",       "16",       "--heads", "2",          "--runs",        "1",        "--mask",
      "causal,full", "--out",    out};
  const Outcome outcome = RunProgram("bench", arguments);
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("B 1, H 2, T 96, d 16, full, float32"));
  const auto results = ReadResults(out);
  ASSERT_TRUE(results.ok()) << results.status();
  const std::vector<Column>& table = results->tables.at("attention");
  EXPECT_EQ(table[0].texts.size(), 2u * 2 * 2 * 2);  // variants, lengths, masks, passes
  EXPECT_EQ(table[4].texts[1], "backward");
  ExpectError(arguments, kBadInput, "holds a finished run");
}

}  // namespace
}  // namespace attnlab
