// quantize and prune as their users see them: a model in, a folder out that eval opens, sweeps that
// go on where they were stopped, and one clear line for what is wrong.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <cmath>
#include <filesystem>
#include <map>
#include <thread>

#include "libs/io/results.h"
#include "tests/apps/program.h"

namespace attnlab {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr int kUsage = 2, kBadInput = 3;

class CompressPrograms : public testing::Test {
 protected:
  CompressPrograms() {
    WriteText(recipe_, TinyRecipe());
    const Outcome trained = RunProgram("train", {recipe_, "--out", model_});
    EXPECT_EQ(trained.exit_code, 0) << trained.err;
  }

  Outcome Quantize(const std::vector<std::string>& more) const {
    std::vector<std::string> arguments = {model_, "--out", out_, "--sequences", "4"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return RunProgram("quantize", arguments);
  }

  static void ExpectError(const Outcome& outcome, int exit_code, const std::string& part) {
    EXPECT_EQ(outcome.exit_code, exit_code) << outcome.err;
    const std::vector<std::string> lines = outcome.ErrorLines();
    ASSERT_EQ(lines.size(), 1u) << outcome.err;
    EXPECT_THAT(lines[0], HasSubstr(part));
  }

  TestFolder folder_;
  const std::string recipe_ = folder_ / "tiny.toml", model_ = folder_ / "run",
                    out_ = folder_ / "small";
};

TEST_F(CompressPrograms, WhatIsWrittenIsOpenedByEval) {
  const Outcome quantized = Quantize({"--method", "hqq", "--bits", "4", "--group-size", "8"});
  ASSERT_EQ(quantized.exit_code, 0) << quantized.err;
  EXPECT_EQ(quantized.out, out_ + "\n");
  const Outcome evaluated = RunProgram("eval", {out_, "--tasks", "held_out", "--json"});
  EXPECT_EQ(evaluated.exit_code, 0) << evaluated.err;
  EXPECT_THAT(evaluated.out, HasSubstr("\"loss\""));
  const auto results = ReadResults(out_);
  ASSERT_TRUE(results.ok()) << results.status();
  EXPECT_EQ(results->status, "finished");
  EXPECT_GT(results->metrics.at("weight_error").value, 0);
  EXPECT_EQ(results->tables.at("matrices").front().size(), 7u);
  // 4 + 2 * 32 / 8, and what describes each of these tiny matrices.
  EXPECT_GT(results->metrics.at("bits_per_weight").value, 12);
  EXPECT_LT(results->metrics.at("bits_per_weight").value, 16);
  EXPECT_FALSE(fs::exists(out_ + ".tmp"));

  // Neither the finished folder nor a packed model is taken again.
  ExpectError(Quantize({"--method", "hqq"}), kBadInput, "is there already");
  ExpectError(RunProgram("quantize", {out_, "--method", "hqq", "--out", out_ + "2"}), kBadInput,
              "packed already");
}

TEST_F(CompressPrograms, WhatIsWrongIsSaid) {
  ExpectError(Quantize({}), kUsage, "--method");
  ExpectError(Quantize({"--method", "hq"}), kBadInput, "hqq");
  ExpectError(Quantize({"--method", "wanda"}), kBadInput, "wanda");
  ExpectError(Quantize({"--method", "hqq", "--bits", "7"}), kBadInput, "bits");
  ExpectError(Quantize({"--method", "hqq", "--group-size", "24"}), kBadInput, "group");
  ExpectError(Quantize({"--method", "rtn", "--set", "grop_size=8"}), kBadInput, "group_size");
  ExpectError(Quantize({"--method", "gptq", "--calibration", "/nowhere"}), kBadInput, "/nowhere");
  ExpectError(RunProgram("quantize", {folder_ / "none", "--method", "rtn", "--out", out_}),
              kBadInput, "/none");
  EXPECT_FALSE(fs::exists(out_));
}

TEST_F(CompressPrograms, PrunedModelsAreOpenedByEval) {
  for (const std::vector<std::string>& method :
       {std::vector<std::string>{"magnitude", "--sparsity", "0.5"},
        {"wanda", "--pattern", "2:4"},
        {"heads", "--sparsity", "0.5"}}) {
    std::vector<std::string> arguments = {model_,        "--out", out_ + method[0],
                                          "--sequences", "4",     "--method"};
    arguments.insert(arguments.end(), method.begin(), method.end());
    const Outcome pruned = RunProgram("prune", arguments);
    ASSERT_EQ(pruned.exit_code, 0) << method[0] << ": " << pruned.err;
    const Outcome evaluated = RunProgram("eval", {out_ + method[0], "--tasks", "held_out"});
    EXPECT_EQ(evaluated.exit_code, 0) << method[0] << ": " << evaluated.err;
  }
  // Heads that are gone are no part of the analysis, and the report draws those that there are.
  const Outcome analysed =
      RunProgram("eval", {out_ + "heads", "--analysis", "--out", folder_ / "analysis"});
  ASSERT_EQ(analysed.exit_code, 0) << analysed.err;
  const auto results = ReadResults(folder_ / "analysis");
  ASSERT_TRUE(results.ok()) << results.status();
  const HeadMetric& mass = results->attention.at("first_key_mass");
  EXPECT_EQ(mass.values.size(), 2u);
  EXPECT_THAT(mass.layer_heads, ElementsAre(1));
  EXPECT_THAT(mass.Present(), ElementsAre(results->metrics.at("first_key_mass").value));
  const Outcome reported =
      RunProgram("report", {folder_ / "analysis", "--out", folder_ / "report"});
  EXPECT_EQ(reported.exit_code, 0) << reported.err;
}

TEST_F(CompressPrograms, ASweepGoesOnWhereItWasKilled) {
  const std::string sweep = folder_ / "sweep.toml";
  WriteText(sweep,
            "models = [\"" + model_ +
                "\"]\ntasks = [\"held_out\"]\nlimit = 256\n[calibration.few]\nsequences = 4\n"
                "[methods]\nkv = [{bits = 8}, {bits = 4}, {bits = 2}, {bits = 8, rotate = true}]\n"
                "bnb_nf4 = [{}]\nhqq = [{bits = 4, group_size = 8}]\n");
  {
    Program program("quantize", {sweep, "--out", out_});
    // Killed as soon as a row is there.
    for (int i = 0; i < 3000 && program.Running(); ++i) {
      const auto results = ReadResults(out_);
      if (results.ok() && results->tables.contains("sweep")) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    program.Signal(SIGKILL);
    program.Wait();
  }
  const auto killed = ReadResults(out_);
  ASSERT_TRUE(killed.ok()) << killed.status();
  ExpectError(RunProgram("quantize", {sweep, "--out", out_}), kBadInput, "--resume");
  const Outcome resumed = RunProgram("quantize", {sweep, "--out", out_, "--resume", "--jobs", "2"});
  ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
  const auto results = ReadResults(out_);
  ASSERT_TRUE(results.ok()) << results.status();
  EXPECT_EQ(results->status, "finished");
  const std::vector<Column>& rows = results->tables.at("sweep");
  EXPECT_EQ(rows.front().size(), 7u);
  // Rows from before the kill stand as they were.
  if (const auto it = killed->tables.find("sweep"); it != killed->tables.end()) {
    for (size_t i = 0; i < it->second.front().size(); ++i) {
      EXPECT_EQ(rows.front().texts[i], it->second.front().texts[i]);
    }
  }
}

// Rows side by side: the same table in the same order, and nothing of them is left beside it.
TEST_F(CompressPrograms, ASweepWithJobsSaysTheSame) {
  const std::string sweep = folder_ / "sweep.toml";
  WriteText(sweep, "models = [\"" + model_ +
                       "\"]\ntasks = [\"held_out\"]\nlimit = 8\n[calibration.few]\nsequences = 4\n"
                       "[methods]\nrtn = [{bits = 4, group_size = 8}, {bits = 8, group_size = 8}]\n"
                       "gptq = [{bits = 4, group_size = 8}]\nbnb_nf4 = [{}]\n");
  const Outcome serial = RunProgram("quantize", {sweep, "--out", out_});
  ASSERT_EQ(serial.exit_code, 0) << serial.err;
  const std::string beside = folder_ / "beside";
  const Outcome parallel = RunProgram("quantize", {sweep, "--jobs", "3", "--out", beside});
  ASSERT_EQ(parallel.exit_code, 0) << parallel.err;

  const auto one = ReadResults(out_), other = ReadResults(beside);
  ASSERT_TRUE(one.ok() && other.ok());
  EXPECT_EQ(other->status, "finished");
  const std::vector<Column>& expected = one->tables.at("sweep");
  const std::vector<Column>& rows = other->tables.at("sweep");
  ASSERT_EQ(rows.size(), expected.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(rows[i].name, expected[i].name);
    EXPECT_EQ(rows[i].texts, expected[i].texts);
    ASSERT_EQ(rows[i].numbers.size(), expected[i].numbers.size());
    for (size_t row = 0; row < rows[i].numbers.size() && rows[i].name != "seconds"; ++row) {
      const double value = expected[i].numbers[row];
      if (std::isnan(value)) {
        EXPECT_TRUE(std::isnan(rows[i].numbers[row])) << rows[i].name << " of row " << row;
      } else {
        EXPECT_NEAR(rows[i].numbers[row], value, 1e-5 * std::abs(value)) << rows[i].name;
      }
    }
  }
  const auto files = std::distance(std::filesystem::directory_iterator(beside), {});
  EXPECT_EQ(files, 1);
}

// Data that no row could be scored on are named once, before the first one.
TEST_F(CompressPrograms, ASweepWithoutItsDataDoesNotStart) {
  const std::string sweep = folder_ / "sweep.toml";
  fs::create_directories(folder_ / "empty");
  WriteText(sweep, "models = [\"" + model_ + "\"]\ntasks = [\"held_out\"]\ndata = \"" +
                       (folder_ / "empty") + "\"\n[methods]\nkv = [{bits = 8}, {bits = 4}]\n");
  ExpectError(RunProgram("quantize", {sweep, "--out", out_}), kBadInput, "held-out data");
  EXPECT_FALSE(fs::exists(out_));
}

// Tasks of a sweep: multiple choice beside perplexity, each document kept.
TEST_F(CompressPrograms, ASweepIsScoredOnTasks) {
  std::string text, arc, piqa;
  for (int i = 0; i < 200; ++i) text += "line " + std::to_string(i * i) + " of some text\n";
  for (const std::string answer : {"A", "B", "C"}) {
    arc += R"({"question": "Which line?", "choices": {"text": ["one", "of some", "line 4"],)"
           R"( "label": ["A", "B", "C"]}, "answerKey": ")" +
           answer + "\"}\n";
  }
  for (const std::string label : {"0", "1"}) {
    piqa += R"({"goal": "some text", "sol1": "line 9", "sol2": "of 9", "label": )" + label + "}\n";
  }
  WriteText(folder_ / "text.txt", text);
  fs::create_directories(folder_ / "tasks");
  WriteText(folder_ / "tasks/arc_easy.jsonl", arc);
  WriteText(folder_ / "tasks/piqa.jsonl", piqa);
  const Outcome prepared =
      RunProgram("prepare", {folder_ / "text.txt", "--validation", folder_ / "text.txt",
                             "--tokenizer", "bytes", "--out", folder_ / "data"});
  ASSERT_EQ(prepared.exit_code, 0) << prepared.err;
  std::string models;
  for (const std::string variant : {"softmax", "softpick"}) {
    const std::string run = folder_ / variant;
    const Outcome trained = RunProgram(
        "train", {recipe_, "--out", run, "--set", "data.source=\"" + (folder_ / "data") + "\"",
                  "--set", "model.vocab_size=300", "--set", "train.steps=12", "--set",
                  "model.attention.weighting=" + variant});
    ASSERT_EQ(trained.exit_code, 0) << trained.err;
    models += "\"" + run + "\", ";
  }
  const std::string sweep = folder_ / "tasks.toml";
  WriteText(sweep, "models = [" + models + "]\ntasks = [\"held_out\", \"arc_easy\", \"piqa\"]\n" +
                       "data = \"" + (folder_ / "tasks") + "\"\n[calibration.few]\n" +
                       "sequences = 4\n[methods]\nhqq = [{bits = 2, group_size = 8}]\n");
  const Outcome swept = RunProgram("quantize", {sweep, "--out", out_});
  ASSERT_EQ(swept.exit_code, 0) << swept.err;
  const auto results = ReadResults(out_);
  ASSERT_TRUE(results.ok()) << results.status();
  const std::vector<Column>& documents = results->tables.at("examples arc_easy acc_norm");
  ASSERT_EQ(documents.size(), 4u);  // two models, as they are and with two bits
  for (const Column& column : results->tables.at("sweep")) {
    if (column.name != "arc_easy acc_norm") continue;
    EXPECT_EQ(column.unit, "higher");
    for (size_t row = 0; row < 4; ++row) {
      ASSERT_EQ(documents[row].numbers.size(), 3u);
      EXPECT_NEAR(
          (documents[row].numbers[0] + documents[row].numbers[1] + documents[row].numbers[2]) / 3,
          column.numbers[row], 1e-12);
    }
  }
  EXPECT_TRUE(results->tables.contains("examples piqa acc"));
  EXPECT_FALSE(results->tables.contains("examples held_out loss"));
  const Outcome reported = RunProgram("report", {out_, "--out", folder_ / "report"});
  ASSERT_EQ(reported.exit_code, 0) << reported.err;
  EXPECT_THAT(ReadText(folder_ / "report/report.md"),
              AllOf(HasSubstr("mean acc of arc_easy, piqa"), HasSubstr("| hqq bits=2"),
                    HasSubstr("softpick − softmax")));
}

// Two named sets, one of them with two draws; from the command line one more draw and a set's text.
TEST_F(CompressPrograms, ASweepTakesNamedCalibrationSets) {
  const std::string sweep = folder_ / "sets.toml";
  WriteText(sweep, "models = [\"" + model_ +
                       "\"]\nlimit = 64\n[calibration.many]\nsequences = 16\nseeds = [3, 4]\n"
                       "[calibration.short]\nsequences = 4\nsequence_length = 6\n"
                       "[methods]\nkv = [{bits = 4}]\n"
                       "gptq = [{bits = 4, calibration = \"short\"}, {bits = 2}]\n");
  const Outcome swept =
      RunProgram("quantize", {sweep, "--out", out_, "--set", "calibration.many.seeds=[3,4,5]",
                              "--set", "calibration.many.source=bigram_backcopy"});
  ASSERT_EQ(swept.exit_code, 0) << swept.err;
  const auto results = ReadResults(out_);
  ASSERT_TRUE(results.ok()) << results.status();
  EXPECT_THAT(results->provenance.recipe,
              AllOf(HasSubstr("seeds = [3, 4, 5]"), HasSubstr("gptq bits=4 calibration=short")));
  std::map<std::string, std::vector<std::string>> texts;
  std::vector<double> errors;
  for (const Column& column : results->tables.at("sweep")) {
    texts[column.name] = column.texts;
    if (column.name == "output error") errors = column.numbers;
  }
  EXPECT_THAT(texts["method"], ElementsAre("none", "kv", "gptq", "gptq", "gptq", "gptq", "gptq"));
  EXPECT_THAT(texts["settings"],
              ElementsAre("", "bits=4", "bits=4", "bits=2", "bits=2", "bits=2", "bits=2"));
  EXPECT_THAT(texts["calibration"], ElementsAre("", "", "short", "many", "many", "many", "short"));
  EXPECT_THAT(texts["draw"], ElementsAre("", "", "0", "3", "4", "5", "0"));
  EXPECT_NE(errors[3], errors[4]);
  EXPECT_NE(errors[3], errors[6]);
}

TEST_F(CompressPrograms, WhatIsWrongWithACalibrationSetIsSaid) {
  const std::string sweep = folder_ / "sets.toml";
  const auto run = [&](const std::string& text) {
    WriteText(sweep, "models = [\"" + model_ + "\"]\n" + text);
    return RunProgram("quantize", {sweep, "--out", out_});
  };
  const std::string some = "[calibration.books]\n[calibration.wiki]\n";
  ExpectError(run(some + "[methods]\ngptq = [{calibration = \"boks\"}]\n"), kBadInput,
              "methods.gptq: calibration = \"boks\" is none of the sets: books, wiki");
  ExpectError(run(some + "[methods]\nkv = [{bits = 4, calibration = \"wiki\"}]\n"), kBadInput,
              "looks at no text");
  ExpectError(run("[calibration.a]\nseeds = []\n[methods]\ngptq = [{}]\n"), kBadInput,
              "calibration.a.seeds is empty");
  ExpectError(run("[methods]\ngptq = [{calibration = 3}]\n"), kBadInput, "methods.gptq: recipe");
  ExpectError(run("[calibration.a]\nlength = 4\n[methods]\ngptq = [{}]\n"), kBadInput,
              "unknown key calibration.a.length");
  ExpectError(run("[calibration]\nsequences = 4\n[methods]\ngptq = [{}]\n"), kBadInput,
              "calibration.sequences must be a table");
  ExpectError(run(some + "[methods]\ngptq = [{}]\n[calibration.x]\nsource = \"/nowhere\"\n"),
              kBadInput, "calibration x: ");
  ExpectError(RunProgram("quantize", {sweep, "--sequences", "4"}), kUsage, "--sequences");
  EXPECT_FALSE(fs::exists(out_));
}

}  // namespace
}  // namespace attnlab
