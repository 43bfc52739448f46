#include "libs/report/bars.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "libs/core/files.h"
#include "libs/core/status.h"
#include "libs/report/report.h"
#include "libs/report/tables.h"
#include "tests/report/fake_runs.h"

namespace attnlab {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

RunSet Set(std::vector<RunResults> runs) {
  RunSet set;
  for (RunResults& run : runs) set.runs.push_back({std::move(run), "", "", "#123456"});
  return set;
}

RunResults WithLoss(const std::string& variant, int64_t seed, double loss) {
  RunResults run = FakeRun(variant, seed);
  run.metrics["validation_loss"].value = loss;
  return run;
}

Bar LossBar() {
  Bar bar;
  bar.run = "softpick";
  bar.metric = "validation_loss";
  bar.at_most = 1.5;
  return bar;
}

Verdict VerdictOf(const Bar& bar, const RunSet& set) { return JudgeBars({{"id", bar}}, set)[0]; }

std::string FileOf(const std::string& name, const std::string& text) {
  const std::string path =
      absl::StrCat(::testing::TempDir(), "/attnlab_bars_", getpid(), "_", name, ".toml");
  EXPECT_TRUE(WriteFileAtomically(path, text).ok());
  return path;
}

TEST(Bars, EveryBoundHoldsAndMisses) {
  const RunSet set = Set({WithLoss("softpick", 1, 1.25)});
  const auto verdict = [&](double at_least, double at_most, double within) {
    Bar bar = LossBar();
    bar.at_least = at_least;
    bar.at_most = at_most;
    bar.within = within;
    return VerdictOf(bar, set).claim.verdict;
  };
  EXPECT_EQ(verdict(1.25, NAN, NAN), "held");
  EXPECT_EQ(verdict(1.26, NAN, NAN), "missed");
  EXPECT_EQ(verdict(NAN, 1.25, NAN), "held");
  EXPECT_EQ(verdict(NAN, 1.24, NAN), "missed");
  EXPECT_EQ(verdict(NAN, NAN, 1.25), "held");
  EXPECT_EQ(verdict(NAN, NAN, 1.24), "missed");
  EXPECT_EQ(verdict(1, 1.2, NAN), "missed");
  EXPECT_EQ(VerdictOf(LossBar(), Set({WithLoss("softpick", 1, NAN)})).claim.verdict, "missed");
}

TEST(Bars, EverySeedMustHold) {
  const Verdict held =
      VerdictOf(LossBar(), Set({WithLoss("softpick", 1, 1), WithLoss("softpick", 2, 1.5)}));
  EXPECT_EQ(held.claim.verdict, "held");
  EXPECT_EQ(held.claim.measured, 1.25);
  EXPECT_THAT(held.measurements, ElementsAre(1, 1.5));
  const Verdict missed =
      VerdictOf(LossBar(), Set({WithLoss("softpick", 1, 1), WithLoss("softpick", 2, 1.6)}));
  EXPECT_EQ(missed.claim.verdict, "missed");
  EXPECT_LT(missed.claim.measured, 1.5);  // the mean would hold
}

TEST(Bars, WhatIsNotThereIsNotMeasured) {
  EXPECT_EQ(VerdictOf(LossBar(), Set({WithLoss("softmax", 1, 1)})).claim.verdict, "not measured");
  RunResults running = WithLoss("softpick", 1, 1), bare = WithLoss("softpick", 2, 1);
  running.status = "running";
  bare.metrics.clear();
  EXPECT_EQ(VerdictOf(LossBar(), Set({running})).claim.verdict, "not measured");
  EXPECT_EQ(VerdictOf(LossBar(), Set({WithLoss("softpick", 1, 1), bare})).claim.verdict,
            "not measured");
  EXPECT_EQ(VerdictOf(LossBar(), Set({WithLoss("softpick", 1, 2), bare})).claim.verdict, "missed");
}

TEST(Bars, DifferencesAndQuotientsTakeRunsOfOneSeed) {
  Bar bar = LossBar();
  bar.minus = "softmax";
  const RunSet set = Set({WithLoss("softpick", 1, 1), WithLoss("softpick", 2, 3),
                          WithLoss("softmax", 2, 2), WithLoss("softmax", 1, 0.5)});
  const Verdict difference = VerdictOf(bar, set);
  EXPECT_THAT(difference.measurements, ElementsAre(0.5, 1));
  EXPECT_EQ(difference.run, "softpick − softmax");
  bar.minus = "";
  bar.ratio_to = "softmax";
  EXPECT_THAT(VerdictOf(bar, set).measurements, ElementsAre(2, 1.5));
  // No softmax of seed 3: one pair lacks.
  RunSet more = set;
  more.runs.push_back({WithLoss("softpick", 3, 1), "", "", ""});
  bar.at_most = 9;
  EXPECT_EQ(VerdictOf(bar, more).claim.verdict, "not measured");
  // Runs of another recipe are partners only where there is none of the same.
  RunResults other = WithLoss("softmax", 1, 100);
  other.info.name = "another";
  more = set;
  more.runs.push_back({other, "", "", ""});
  EXPECT_THAT(VerdictOf(bar, more).measurements, ElementsAre(2, 1.5));
  bar.ratio_to = "another";
  EXPECT_THAT(VerdictOf(bar, more).measurements, ElementsAre(0.01));
}

TEST(Bars, ReadsHeadsAndSeries) {
  RunResults run = FakeRun("softpick", 1);
  run.attention["x"] = {1, 2, {0.25, 0.75}, "", "", "", 0, 0};
  run.series["y"] = {{}, {1, 2}, {5, 4}};
  Bar bar = LossBar();
  const auto measured = [&](const std::string& metric, const std::string& reduce) {
    bar.metric = metric;
    bar.reduce = reduce;
    return VerdictOf(bar, Set({run})).claim.measured;
  };
  EXPECT_EQ(measured("attention:x", "max"), 0.75);
  EXPECT_EQ(measured("attention:x", "min"), 0.25);
  EXPECT_EQ(measured("attention:x", "mean"), 0.5);
  EXPECT_EQ(measured("series:y", ""), 4);
  EXPECT_TRUE(std::isnan(measured("series:z", "")));
  run.attention["y"] = {2, 2, {0.25, NAN, 0.5, 0.75}, "", "", "", 0, 0, {1, 2}};
  EXPECT_EQ(measured("attention:y", "mean"), 0.5);  // a head that was removed is no NaN
  run.attention["x"].values[0] = NAN;
  EXPECT_TRUE(std::isnan(measured("attention:x", "max")));
}

TEST(Bars, FilesAreReadStrictly) {
  const auto bars = LoadBars(FileOf(
      "good", "[bar.a]\nstatement='s'\nsource='t'\npaper=1\nrun='r'\nmetric='m'\nwithin=0.5\n"));
  ASSERT_TRUE(bars.ok()) << bars.status();
  EXPECT_EQ(bars->at("a").within, 0.5);
  EXPECT_TRUE(std::isnan(bars->at("a").at_least));
  const auto error = [](const std::string& text) {
    const absl::Status status = LoadBars(FileOf("bad", text)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  const std::string whole = "[bar.a]\nrun='r'\nmetric='m'\nat_most=1\n";
  EXPECT_THAT(error(""), HasSubstr("no bars"));
  EXPECT_THAT(error("[bar.a]\nmetric='m'\nat_most=1"), HasSubstr("bar.a: run is missing"));
  EXPECT_THAT(error("[bar.a]\nrun='r'\nat_most=1"), HasSubstr("metric is missing"));
  EXPECT_THAT(error("[bar.a]\nrun='r'\nmetric='m'"), HasSubstr("a bound is missing"));
  EXPECT_THAT(error(whole + "minus='a'\nratio_to='b'"), HasSubstr("exclude each other"));
  EXPECT_THAT(error(whole + "reduce='max'"), HasSubstr("reduce is for"));
  EXPECT_THAT(error("[bar.a]\nrun='r'\nmetric='attention:m'\nreduce='sum'\nat_most=1"),
              HasSubstr("needs reduce"));
  EXPECT_THAT(error(whole + "at_mst=1"), HasSubstr("did you mean at_most?"));
  EXPECT_EQ(LoadBars("/nowhere/bars.toml").status().code(), absl::StatusCode::kNotFound);
}

TEST(Bars, ReportOfASweepShowsTheVerdicts) {
  const std::string folder = absl::StrCat(::testing::TempDir(), "/attnlab_bars_sweep_", getpid());
  std::filesystem::remove_all(folder);
  for (const RunResults& run :
       {WithLoss("softmax", 1, 1.25), WithLoss("softpick", 1, 1.5), WithLoss("softpick", 2, 2.5)}) {
    const std::string cell =
        absl::StrCat(folder, "/", run.info.variant, "-seed", run.provenance.seed);
    std::filesystem::create_directories(cell);
    WriteRun(run, cell + "/results.h5");
  }
  const std::string bars = FileOf("sweep",
                                  "[bar.low]\nstatement = 'Low loss'\nsource = 'table 7'\n"
                                  "paper = 0.5\nrun = 'softpick'\nmetric = 'validation_loss'\n"
                                  "at_most = 1.75\n"
                                  "[bar.other]\nrun = 'relu'\nmetric = 'x'\nwithin = 1\n"
                                  "[bar.soft]\nrun = 'softmax'\nmetric = 'validation_loss'\n"
                                  "at_least = 1\nat_most = 1.5\n");
  const auto report = WriteReport({folder}, bars, folder + "/out");
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_THAT(ReadFile(report->markdown).value(),
              HasSubstr("| Low loss | table 7 | softpick | 0.5000 | 2 1.500 … 2.500 in 2 runs | "
                        "≤ 1.75 | missed |"));
  EXPECT_THAT(ReadFile(report->html).value(), HasSubstr("class=\"verdict missed\">missed<"));
  EXPECT_EQ(RenderText(VerdictsTable(report->verdicts)),
            "verdict       bar    run       measured                     must be\n"
            "missed        low    softpick  2 (1.500 … 2.500 in 2 runs)  ≤ 1.75\n"
            "not measured  other  relu      –                            0 ± 1\n"
            "held          soft   softmax   1.250                        ≥ 1, ≤ 1.5\n");
  const absl::Status status = AllHeld(report->verdicts);
  EXPECT_EQ(ExitCode(status), kExitBarMissed);
  EXPECT_EQ(status.message(), "of 3 bars 1 missed and 1 not measured");
  EXPECT_TRUE(AllHeld({report->verdicts[2]}).ok());
}

}  // namespace
}  // namespace attnlab
