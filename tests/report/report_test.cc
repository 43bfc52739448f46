#include "libs/report/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "libs/core/files.h"
#include "libs/report/text.h"
#include "tests/report/fake_runs.h"
#include "tests/report/markup.h"

namespace attnlab {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// Report of some runs in a folder of the test.
struct Pages {
  std::string markdown, html;
};

Pages Report(const std::vector<RunResults>& runs, const std::string& name) {
  const std::string folder =
      absl::StrCat(::testing::TempDir(), "/attnlab_report_", getpid(), "_", name);
  std::filesystem::create_directories(folder);
  std::vector<std::string> paths;
  for (const RunResults& run : runs) {
    paths.push_back(absl::StrCat(folder, "/run", paths.size(), ".h5"));
    WriteRun(run, paths.back());
  }
  const auto report = WriteReport(paths, "", folder + "/out");
  EXPECT_TRUE(report.ok()) << report.status();
  if (!report.ok()) return {};
  return {ReadFile(report->markdown).value(), ReadFile(report->html).value()};
}

// Well-formed, and nothing in it leaves the page: no script, no address but the names of XML.
void ExpectSelfContained(const std::string& html) {
  const Markup markup = ReadMarkup(html);
  EXPECT_EQ(markup.error, "");
  for (const std::string& element : markup.elements) {
    EXPECT_TRUE(element != "script" && element != "link" && element != "img" && element != "iframe")
        << element;
  }
  for (const auto& [name, value] : markup.attributes) {
    EXPECT_FALSE(absl::StartsWith(name, "on") || name == "src") << name;
    if (absl::EndsWith(name, "href")) {
      EXPECT_TRUE(absl::StartsWith(value, "#") || absl::StartsWith(value, "data:image/png"))
          << value;
    }
    if (!absl::StartsWith(name, "xmlns")) {
      EXPECT_THAT(value, Not(HasSubstr("://")));
    }
  }
}

int64_t Count(const std::string& text, const std::string& what) {
  int64_t count = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++count;
  return count;
}

TEST(Report, PairShowsItsNumbers) {
  const Pages pages = Report({FakeRun("softmax", 1), FakeRun("softpick", 1)}, "pair");
  // | run | held-out loss | ... as the fake runs have it.
  EXPECT_THAT(pages.markdown, HasSubstr("| softpick | 1.091 | 0.0040 | 1.440 | 0.21 % |"));
  EXPECT_THAT(pages.markdown, AllOf(HasSubstr("33511"), HasSubstr("−207.6"), HasSubstr("94.46 %"),
                                    HasSubstr("25.00 %"), HasSubstr("0.9550 ± 0.015")));
  for (const char* part :
       {"33511", "−207.6", "94.46 %", "Held-out loss (faint: training)", "entropy 1.437",
        "Loss at back-copy positions", "Learning rate", "Gradient norm",
        "attention on BOS at non-trigger queries", "softpick, layer 0 head 1 (all 0)",
        "Hidden states by layer", "largest |h|", "tokens with max_d |o_d| &lt; 1e-06",
        "class=\"verdict held\"", "attention = &quot;softpick&quot;", "train quickstart.toml"})
    EXPECT_THAT(pages.html, HasSubstr(part));
  ExpectSelfContained(pages.html);
  // Every figure was drawn: 3 losses, 5 + 1 head metrics of 2 runs, 2 during training and layers,
  // 8 maps, 1 box plot, 2 of optimization.
  EXPECT_EQ(Count(pages.html, "<svg"), 3 + 10 + 2 + 8 + 1 + 2);
}

TEST(Report, TheSameRunsGiveTheSameBytes) {
  const std::vector<RunResults> runs = {FakeRun("softmax", 1), FakeRun("softpick", 1)};
  const Pages first = Report(runs, "again"), second = Report(runs, "again");
  EXPECT_EQ(first.html, second.html);
  EXPECT_EQ(first.markdown, second.markdown);
}

TEST(Report, SeedsHaveMeanAndRange) {
  RunResults one = FakeRun("softmax", 1), two = FakeRun("softmax", 2), three = FakeRun("relu", 1);
  one.metrics["validation_loss"].value = 1.0;
  two.metrics["validation_loss"].value = 1.5;
  two.status = "running";
  const Pages pages = Report({one, three, two}, "seeds");
  EXPECT_THAT(pages.markdown, HasSubstr("| **softmax, mean of 2** range | **1.250** 1 … 1.500 |"));
  EXPECT_THAT(pages.markdown, HasSubstr("| softmax, seed 2 (running) | 1.500 |"));
  EXPECT_THAT(pages.markdown, Not(HasSubstr("relu, mean")));
  ExpectSelfContained(pages.html);
}

TEST(Report, WhatIsAbsentIsLeftOut) {
  RunResults bare;
  bare.info = {"train", "bare", "softmax"};
  bare.status = "running";
  const Pages nothing = Report({bare}, "bare");
  EXPECT_THAT(nothing.html, Not(HasSubstr("<svg")));
  for (const char* section : {"Summary", "Claims", "Loss", "Attention", "Activations", "Dead"})
    EXPECT_THAT(nothing.html, Not(HasSubstr(absl::StrCat("<h2>", section))));
  EXPECT_THAT(nothing.html, HasSubstr("<h2>Provenance"));
  ExpectSelfContained(nothing.html);
  // Empty and broken entries beside whole ones.
  bare.series["train_loss"] = {};
  bare.series["gradient_norm"] = {{}, {1, 2}, {NAN, INFINITY}};
  bare.layers["max_abs_hidden"] = {};
  bare.boxes["hidden"] = {};
  bare.maps["empty"] = {};
  bare.attention["empty"] = {};
  bare.attention["nan"] = {1, 2, {NAN, INFINITY}, "", "", "", 0, 0};
  bare.histograms["weights"] = {{0, 1, 2}, {3, 4}, 7};
  ExpectSelfContained(Report({bare, FakeRun("softpick", 1)}, "broken").html);
}

// Names that try to leave the page, the table and the gnuplot script.
TEST(Report, HostileNames) {
  const std::string mark =
      absl::StrCat(::testing::TempDir(), "/attnlab_report_injected_", getpid());
  std::filesystem::remove(mark);
  const std::string evil = absl::StrCat(
      "</title><script>alert(1)</script> ' \" | `touch ", mark, "` '; system('touch ", mark,
      "'); set print '", mark, "'\n!touch ", mark, "\nEND\n\\ @x $0 {/:Bold x} \xff\x01 ü");
  RunResults run = FakeRun("softpick", 1);
  run.info.name = run.info.variant = evil;
  run.provenance.recipe = evil;
  run.provenance.command_line = evil;
  run.series[evil] = {{evil, evil, evil, 1.0, evil}, {1, 2}, {1, 2}};
  run.series["train_loss"].info.unit = evil;
  run.metrics[evil] = {1, evil, evil, evil, evil, 0, 0};
  run.attention[evil] = {1, 1, {1}, evil, evil, evil, 0, 0};
  run.layers[evil] = {{1, 2}, evil, evil, evil};
  run.boxes[evil] = {{0, 1, 2, 3, 4}};
  run.maps[evil] = {1, 2, {1, 0}, {evil, evil}, 0, 0, evil, false};
  run.claims[evil] = {evil, evil, 0, 0, evil, evil, evil};
  run.evals[evil] = {evil, evil, 0, 0, 1, 0, true, evil, {}};
  run.tables[evil] = {{evil, evil, {}, {evil}}};
  const Pages pages = Report({run, FakeRun("softmax", 1)}, "hostile");
  ExpectSelfContained(pages.html);
  EXPECT_THAT(pages.markdown, Not(HasSubstr("<script>")));
  EXPECT_FALSE(std::filesystem::exists(mark));
}

TEST(Report, ErrorsSayWhatToDo) {
  EXPECT_EQ(WriteReport({}, "", "x").status().code(), absl::StatusCode::kInvalidArgument);
  const auto missing = WriteReport({"/nowhere/run"}, "", "x").status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.message()), HasSubstr("/nowhere/run"));
  const std::string path = std::getenv("PATH");
  setenv("PATH", "/nowhere", 1);
  const auto drawn = DrawPlots({LinePlot{}}).status();
  setenv("PATH", path.c_str(), 1);
  EXPECT_EQ(drawn.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(drawn.message()), HasSubstr("apt-get install gnuplot-nox"));
}

TEST(Report, ColorsStandOutFromWhite) {
  for (size_t group = 0; group < 6; ++group) {
    const std::string color = GroupColor(group);
    double luminance = 0;
    for (int i = 0; i < 3; ++i) {
      const double c = std::stoi(color.substr(1 + 2 * i, 2), nullptr, 16) / 255.0;
      const double linear = c <= 0.04045 ? c / 12.92 : std::pow((c + 0.055) / 1.055, 2.4);
      luminance += linear * std::vector<double>{0.2126, 0.7152, 0.0722}[i];
    }
    EXPECT_GT(1.05 / (luminance + 0.05), 3.0) << color;  // contrast as WCAG 2 defines it
  }
}

TEST(Text, Numbers) {
  EXPECT_EQ(FormatNumber(33510.81), "33511");
  EXPECT_EQ(FormatNumber(1.0905), "1.091");
  EXPECT_EQ(FormatNumber(-0.25), "−0.2500");
  EXPECT_EQ(FormatNumber(0), "0");
  EXPECT_EQ(FormatNumber(128), "128");
  EXPECT_EQ(FormatNumber(4.2e-7), "4.20e−07");
  EXPECT_EQ(FormatNumber(0.6341, "fraction"), "63.41 %");
  EXPECT_EQ(FormatNumber(NAN), "–");
  EXPECT_EQ(FormatNumber(-INFINITY), "−∞");
}

TEST(Text, Cleaning) {
  EXPECT_EQ(CleanText("a\tb\x01"), "a b ");
  EXPECT_EQ(CleanText("ü€😀"), "ü€😀");
  EXPECT_EQ(CleanText("\xff\xc0\x80"), "\ufffd\ufffd\ufffd");
  EXPECT_EQ(CleanText("\xed\xa0\x80"), "\ufffd\ufffd\ufffd");  // a surrogate
  EXPECT_EQ(CleanText("\xe2\x82"), "\ufffd\ufffd");
  EXPECT_EQ(EscapeHtml("<a href='x'>&\""), "&lt;a href=&#39;x&#39;&gt;&amp;&quot;");
  EXPECT_EQ(EscapeMarkdown("a|b*<"), "a\\|b\\*&lt;");
}

// Of a bench: a table for each pass, lengths side by side, LibTorch's rows last.
TEST(Report, BenchShowsRatesAndPeers) {
  RunResults run;
  run.info = {"bench", "attention", ""};
  run.status = "finished";
  run.provenance.device = "NVIDIA H200";
  run.provenance.driver = "580.1";
  run.metrics["matrix_product_rate"] = {700, "matrix product", "TFLOP/s"};
  const auto same = [](const std::string& text) { return std::vector<std::string>(4, text); };
  run.tables["attention"] = {{"variant", "", {}, {"softpick", "softmax", "softpick", "softmax"}},
                             {"kernel", "", {}, {"hopper", "flash", "hopper", "flash"}},
                             {"dtype", "", {}, same("bfloat16")},
                             {"mask", "", {}, same("causal")},
                             {"pass", "", {}, same("forward")},
                             {"inputs", "", {}, same("random")},
                             {"dim", "", {64, 64, 64, 64}, {}},
                             {"T", "", {2048, 2048, 4096, 4096}, {}},
                             {"B", "", {8, 8, 4, 4}, {}},
                             {"H", "", {32, 32, 32, 32}, {}},
                             {"Hkv", "", {32, 32, 32, 32}, {}},
                             {"rate", "TFLOP/s", {410.2, 350, 480.6, 400}, {}},
                             {"flash", "", {1.172, NAN, 1.2, NAN}, {}},
                             {"of_device", "", {0.58, 0.5, 0.686, 0.571}, {}},
                             {"skipped", "", {NAN, NAN, NAN, NAN}, {}},
                             {"sm_clock", "MHz", {1755, 1755, 1980, 1980}, {}}};
  const Pages pages = Report({run}, "bench");
  EXPECT_THAT(
      pages.markdown,
      AllOf(HasSubstr("### attention, forward, bfloat16, d 64, causal, H 32\n"),
            HasSubstr("| variant | kernel | T 2048, B 8 | T 4096, B 4 | × flash | of device |"),
            HasSubstr("| softpick | hopper | 410.2 | 480.6 | 1.20 | 68.60 % |\n"
                      "| softmax | flash | 350 | 400 | – | 57.10 % |"),
            HasSubstr("NVIDIA H200, driver 580.1, 1755 to 1980 MHz, matrix product 700 TFLOP/s")));
  ExpectSelfContained(pages.html);
}

}  // namespace
}  // namespace attnlab
