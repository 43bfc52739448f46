// The commands that stand in --help, on the models that the quickstart leaves.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "tests/apps/program.h"

namespace attnlab {
namespace {

TEST(HelpTest, ExamplesOnTheQuickstartsModelsWork) {
  const TestFolder folder;
  const Outcome trained = RunProgram(
      "train", {absl::StrCat(ATTNLAB_SOURCE_DIR, "/experiments/quickstart/quickstart.toml"),
                "--out", folder / "quickstart", "--set", "train.steps=20", "--set",
                "schedule.warmup=1", "--set", "analysis.sequences=2"});
  ASSERT_EQ(trained.exit_code, 0) << trained.err;
  for (const std::string program : {"eval", "quantize", "prune"}) {
    int examples = 0;
    const std::string start = absl::StrCat("  ", program, " runs/quickstart/");
    const std::string help = RunProgram(program, {"--help"}).out;
    for (const absl::string_view line : absl::StrSplit(help, '\n')) {
      if (!absl::StartsWith(line, start)) continue;
      ++examples;
      const std::string here =
          absl::StrReplaceAll(line, {{" runs/", absl::StrCat(" ", folder / "")}});
      std::vector<std::string> words = absl::StrSplit(here, ' ', absl::SkipEmpty());
      words.erase(words.begin());
      const Outcome outcome = RunProgram(program, words);
      EXPECT_EQ(outcome.exit_code, 0) << line << "\n" << outcome.err;
    }
    EXPECT_GT(examples, 0) << program;
  }
}

}  // namespace
}  // namespace attnlab
