// One tiny run of each command on a CUDA device. Skips without one.
#include <ATen/Context.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "libs/io/results.h"
#include "tests/apps/program.h"

namespace attnlab {
namespace {

using testing::Contains;

// The table of a run of `arguments`; a failure of the test unless the program ends well.
std::vector<Column> TableOf(std::vector<std::string> arguments) {
  const TestFolder folder;
  const std::string name = arguments[0], out = folder / "run";
  for (const char* more : {"--device", "cuda", "--runs", "3", "--out"}) arguments.push_back(more);
  arguments.push_back(out);
  const Outcome outcome = RunProgram("bench", arguments);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.out << outcome.err;
  const auto results = ReadResults(out);
  EXPECT_TRUE(results.ok()) << results.status();
  if (!results.ok()) return {};
  EXPECT_GT(results->metrics.at("matrix_product_rate").value, 1);
  EXPECT_GT(results->metrics.at("copy_bandwidth").value, 10);
  return results->tables.at(name);
}

const Column& Named(const std::vector<Column>& table, const std::string& name) {
  return *std::find_if(table.begin(), table.end(),
                       [&](const Column& column) { return column.name == name; });
}

class BenchGpuTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  }
};

TEST_F(BenchGpuTest, Attention) {
  const std::vector<Column> table =
      TableOf({"attention", "--variants", "softmax,softpick", "--batch", "1", "--heads", "2",
               "--tokens", "512", "--dim", "64"});
  ASSERT_FALSE(table.empty());
  EXPECT_THAT(Named(table, "variant").texts, Contains("softpick"));
  for (const double seconds : Named(table, "seconds").numbers) EXPECT_GT(seconds, 0);
  EXPECT_LT(Named(table, "error_ratio").numbers[0], 2);
}

// Half of the tiles are dead, and the kernel leaves out exactly those that the mask shows.
TEST_F(BenchGpuTest, DeadTiles) {
  const std::vector<Column> table =
      TableOf({"attention", "--variants", "relu", "--batch", "1", "--heads", "2", "--tokens",
               "2048", "--dim", "64", "--mask", "full", "--dead", "0.5"});
  ASSERT_FALSE(table.empty());
  EXPECT_NEAR(Named(table, "skipped").numbers[0], 0.5, 0.01);
}

TEST_F(BenchGpuTest, Decode) {
  const std::vector<Column> table =
      TableOf({"decode", "--variants", "softmax", "--batch", "2", "--heads", "4", "--kv-heads", "2",
               "--tokens", "1024"});
  ASSERT_FALSE(table.empty());
  EXPECT_EQ(Named(table, "pass").texts[0], "decode");
  EXPECT_GT(Named(table, "rate").numbers[0], 0);
}

}  // namespace
}  // namespace attnlab
