// What the report says of a sweep of compression methods.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "libs/report/document.h"
#include "libs/report/report.h"
#include "tests/report/fake_runs.h"
#include "tests/test_folder.h"

namespace attnlab {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::string Markdown(RunResults run) {
  RunSet set;
  set.runs.push_back({std::move(run), "", "sweep", "#123456"});
  set.groups.push_back({"sweep", "#123456", {0}});
  return RenderMarkdown(MakeDocument(set, {}));
}

// Two draws a method: a verdict only where both pairs agree.
TEST(Sweep, ComparesVariants) {
  RunResults run = FakeRun("", 1);
  const std::string a = "softmax", b = "softpick";
  run.tables["sweep"] = {
      {"variant", "", {}, {a, a, a, a, a, b, b, b, b, b}},
      {"seed", "", {}, {"1", "1", "1", "1", "1", "1", "1", "1", "1", "1"}},
      {"method",
       "",
       {},
       {"none", "rtn", "gptq", "gptq", "kv", "none", "rtn", "gptq", "gptq", "kv"}},
      {"settings", "", {}, {"", "bits=4", "", "", "", "", "bits=4", "", "", ""}},
      {"draw", "", {}, {"0", "0", "0", "1", "0", "0", "0", "0", "1", "0"}},
      {"held_out loss", "lower", {2, 3, 4, 5, 2, 1, 2, 4.5, 5.5, 2}, {}},
      {"zeros", "fraction", {0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, {}}};
  EXPECT_THAT(
      Markdown(std::move(run)),
      AllOf(HasSubstr("| rtn bits=4 | 3 | 2 | −1 | – | softpick (one draw) | undecided |"),
            HasSubstr("| gptq | 4.500 | 5 | 0.5000 | 0.5000 to 0.5000 | softmax | softmax |"),
            HasSubstr("| kv | 2 | 2 | 0 | – | undecided | softmax (one draw) |"),
            HasSubstr("held_out loss")));
}

RunSet OneSweep() {
  RunResults run = FakeRun("", 1);
  run.tables["sweep"] = {{"variant", "", {}, {"softmax", "softmax", "softpick", "softpick"}},
                         {"seed", "", {}, {"1", "1", "1", "1"}},
                         {"method", "", {}, {"none", "hqq", "none", "hqq"}},
                         {"settings", "", {}, {"", "bits=2", "", "bits=2"}},
                         {"draw", "", {}, {"", "", "", ""}},
                         {"arc_easy acc", "higher", {0.5, 0.25, 0.5, 0.75}, {}}};
  RunSet set;
  set.runs.push_back({std::move(run), "", "sweep", "#123456"});
  set.groups.push_back({"sweep", "#123456", {0}});
  return set;
}

TEST(Published, StandsBesideASweep) {
  const TestFolder folder;
  const std::string path = folder / "paper.toml";
  std::ofstream(path) << R"([table.10]
title = "Table 10: HQQ"
variants = ["softmax", "softpick"]
[table.10.row]
"ARC-e acc, 2 bits" = {score = "arc_easy acc", method = "hqq bits=2", values = [0.2681, 0.3754]}
"ARC-e acc, 3 bits" = {score = "arc_easy acc", method = "hqq bits=3", values = [0.5, 0.5]}
"ARC-e acc, whole" = {score = "arc_easy acc", method = "none", values = [0.6, 0.5]}
)";
  const auto published = LoadPublished(path);
  ASSERT_TRUE(published.ok()) << published.status();
  EXPECT_THAT(
      RenderMarkdown(MakeDocument(OneSweep(), {}, *published)),
      AllOf(
          HasSubstr("Table 10: HQQ"),
          HasSubstr("| ARC-e acc, 2 bits | 0.2681 | 0.3754 | 0.1073 | 0.2500 | 0.7500 | 0.5000 | "
                    "yes |"),
          HasSubstr("| ARC-e acc, 3 bits | 0.5000 | 0.5000 | 0 | – | – | – | not measured |"),
          HasSubstr("| ARC-e acc, whole | 0.6000 | 0.5000 | −0.1000 | 0.5000 | 0.5000 | 0 | – |")));
}

TEST(Published, TheQuantizationPaperIsWhole) {
  const auto paper = LoadPublished(std::string(ATTNLAB_SOURCE_DIR) +
                                   "/experiments/softpick_quantization/paper.toml");
  ASSERT_TRUE(paper.ok()) << paper.status();
  EXPECT_EQ(paper->size(), 6);
  EXPECT_EQ(paper->at("09").rows.size(), 36);
  EXPECT_EQ(paper->at("12").rows.at("Wikitext ppl, 2 bits").values,
            std::vector<double>({4660.08, 336.22}));
}

TEST(Published, BadFilesNameThePlace) {
  const TestFolder folder;
  const std::string path = folder / "paper.toml";
  const auto error = [&](const std::string& text) {
    std::ofstream(path) << text;
    return std::string(LoadPublished(path).status().message());
  };
  EXPECT_THAT(error(""), HasSubstr("no published figures"));
  EXPECT_THAT(error("[table.1]\ntitle = \"x\""), HasSubstr("table.1: variants"));
  EXPECT_THAT(error("[table.1]\nvariants = [\"a\", \"b\"]\n[table.1.row]\n"
                    "x = {score = \"s\", method = \"m\", values = [1.0]}"),
              HasSubstr("row \"x\": 1 values for 2 variants"));
  EXPECT_THAT(error("[table.1]\nvariants = [\"a\", \"b\"]\nrow.x = {values = [1.0, 2.0]}"),
              HasSubstr("score and method"));
}

// Scores that are means over documents: errors of their differences, and the mean over the tasks.
TEST(Sweep, TellsErrorsOfAccuracies) {
  RunResults run = FakeRun("", 1);
  const std::string a = "softmax", b = "softpick";
  run.tables["sweep"] = {{"variant", "", {}, {a, a, b, b}},
                         {"seed", "", {}, {"1", "1", "1", "1"}},
                         {"method", "", {}, {"none", "hqq", "none", "hqq"}},
                         {"settings", "", {}, {"", "bits=2", "", "bits=2"}},
                         {"draw", "", {}, {"", "", "", ""}},
                         {"piqa acc", "higher", {0.5, 0.25, 0.5, 0.75}, {}},
                         {"piqa acc stderr", "", {0.2887, 0.25, 0.2887, 0.25}, {}},
                         {"sciq acc", "higher", {0.75, 0, 0.75, 0.75}, {}},
                         {"wiki perplexity", "lower", {9, 10, 8, 9}, {}}};
  run.tables["examples piqa acc"] = {{"0", "", {0, 1, 0, 1}, {}},
                                     {"1", "", {0, 1, 0, 0}, {}},
                                     {"2", "", {0, 1, 1, 0}, {}},
                                     {"3", "", {1, 1, 1, 0}, {}}};
  run.tables["examples sciq acc"] = {{"0", "", {1, 1, 1, 0}, {}},
                                     {"1", "", {0, 0, 0, 0}, {}},
                                     {"2", "", {1, 1, 1, 0}, {}},
                                     {"3", "", {1, 1, 1, 0}, {}}};
  // piqa, 2 bits: differences 1 0 1 0, so 1/2 with s / sqrt(n) = 0.577 / 2, and against the models
  // as they were trained, 0 0 1 -1, 1 0 0 1, too. sciq: 1 1 1 0, 3/4 +- 1/4, nothing before. The
  // mean: (1/2 + 3/4) / 2 +- sqrt(1/12 + 1/16) / 2.
  EXPECT_THAT(
      Markdown(std::move(run)),
      AllOf(
          HasSubstr("| none | 0.5000 | 0.5000 | 0 ± 0.4082 | – | undecided | – |"),
          HasSubstr("| hqq bits=2 | 0.2500 | 0.7500 | 0.5000 ± 0.2887 | – | undecided | undecided |"),
          HasSubstr("| hqq bits=2 | 0 | 0.7500 | 0.7500 ± 0.2500 | – | softpick (one draw) | "
                    "softpick (one draw) |"),
          HasSubstr("mean acc of piqa, sciq"),
          HasSubstr("| hqq bits=2 | 0.1250 | 0.7500 | 0.6250 ± 0.1909 | – | softpick (one draw) |"),
          HasSubstr("| hqq bits=2 | 10 | 9 | −1 | – | softpick (one draw) | undecided |"),
          HasSubstr("piqa acc stderr"), Not(HasSubstr("examples piqa"))));
}

// Each calibration set is a row of its own with the spread over its own draws.
TEST(Sweep, TellsCalibrationSetsApart) {
  RunResults run = FakeRun("", 1);
  const std::string a = "softmax", b = "softpick", books = "books", wiki = "wiki";
  run.tables["sweep"] = {
      {"variant", "", {}, {a, a, a, a, b, b, b, b}},
      {"seed", "", {}, std::vector<std::string>(8, "1")},
      {"method", "", {}, {"none", "awq", "awq", "awq", "none", "awq", "awq", "awq"}},
      {"settings", "", {}, std::vector<std::string>(8)},
      {"calibration", "", {}, {"", books, books, wiki, "", books, books, wiki}},
      {"draw", "", {}, {"", "0", "1", "0", "", "0", "1", "0"}},
      {"held_out loss", "lower", {2, 3, 4, 5, 2, 3.5, 4.25, 4}, {}}};
  EXPECT_THAT(Markdown(std::move(run)),
              AllOf(HasSubstr("| none | 2 | 2 | 0 | – | undecided | – |"),
                    HasSubstr("| awq, on books | 3.500 | 3.875 | 0.3750 | 0.2500 to 0.5000 | "
                              "softmax | softmax |"),
                    HasSubstr("| awq, on wiki | 5 | 4 | −1 | – | softpick (one draw) | softpick "
                              "(one draw) |")));
}

}  // namespace
}  // namespace attnlab
