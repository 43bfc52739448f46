// What users and files can get wrong: the exit code, and one line that says what, where and how to
// mend it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <thread>

#include "libs/core/files.h"
#include "libs/io/result_names.h"
#include "libs/io/results.h"
#include "tests/apps/program.h"

namespace attnlab {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

constexpr int kFailed = 1, kUsage = 2, kBadInput = 3;

class BadInputTest : public testing::Test {
 protected:
  BadInputTest() { WriteText(recipe_, TinyRecipe()); }

  std::vector<std::string> Arguments(const std::vector<std::string>& more) const {
    std::vector<std::string> arguments = {recipe_, "--out", run_};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  Outcome Train(const std::vector<std::string>& more = {}) const {
    return RunProgram("train", Arguments(more));
  }

  // The program ended with `exit_code` and one line on standard error that has all of `parts`.
  static void ExpectError(const Outcome& outcome, int exit_code,
                          const std::vector<std::string>& parts) {
    EXPECT_EQ(outcome.exit_code, exit_code) << outcome.err;
    const std::vector<std::string> lines = outcome.ErrorLines();
    ASSERT_EQ(lines.size(), 1u) << outcome.err;
    for (const std::string& part : parts) EXPECT_THAT(lines[0], HasSubstr(part));
  }

  // Makes an unfinished run, stopped soon after it began to save; returns its checkpoint.
  std::string MakeUnfinishedRun() const {
    WriteText(recipe_, TinyRecipe());
    Program program("train", Arguments({"--set", "train.steps=100000"}));
    const std::string checkpoints = run_ + "/checkpoints";
    while (program.Running()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
      if (fs::exists(checkpoints)) break;
    }
    program.Signal(SIGTERM);
    EXPECT_EQ(program.Wait().exit_code, kFailed);
    std::string newest;
    for (const auto& entry : fs::directory_iterator(checkpoints)) newest = entry.path().string();
    return newest;
  }
  Outcome Resume() const { return Train({"--set", "train.steps=100000", "--resume"}); }

  // Text as `prepare` makes it: bytes as tokens, a training and a validation shard.
  std::string PrepareText() const {
    std::string text;
    for (int i = 0; i < 400; ++i) text += "line " + std::to_string(i * i) + " of some text\n";
    WriteText(folder_ / "text.txt", text);
    WriteText(folder_ / "held_out.txt", text.substr(0, 2000));
    const std::string data = folder_ / "data";
    const Outcome outcome =
        RunProgram("prepare", {folder_ / "text.txt", "--validation", folder_ / "held_out.txt",
                               "--tokenizer", "bytes", "--out", data});
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return data;
  }
  std::vector<std::string> OnText(const std::string& data) const {
    return {"--set", "data.source=\"" + data + "\"",
            "--set", "model.vocab_size=300",
            "--set", "train.steps=12"};
  }

  TestFolder folder_;
  const std::string recipe_ = folder_ / "tiny.toml";
  const std::string run_ = folder_ / "run";
};

TEST_F(BadInputTest, HelpVersionAndUsage) {
  for (const std::string program : {"train", "prepare", "eval", "report"}) {
    const Outcome help = RunProgram(program, {"--help"});
    EXPECT_EQ(help.exit_code, 0);
    EXPECT_THAT(help.out, AllOf(HasSubstr(program), HasSubstr("Examples:"), HasSubstr("--")));
    EXPECT_EQ(help.err, "");
    const Outcome version = RunProgram(program, {"--version"});
    EXPECT_EQ(version.exit_code, 0);
    EXPECT_THAT(version.out, HasSubstr(program));
    const Outcome unknown = RunProgram(program, {recipe_, "--no-such-flag"});
    EXPECT_EQ(unknown.exit_code, kUsage);
    EXPECT_THAT(unknown.err, AllOf(HasSubstr("--no-such-flag"), HasSubstr("--help")));
  }
  EXPECT_EQ(RunProgram("train", {}).exit_code, kUsage);
}

TEST_F(BadInputTest, Recipes) {
  WriteText(recipe_, TinyRecipe() + "\n[optimizer]\nweight_decy = 0.1\n");
  ExpectError(Train(), kBadInput, {"tiny.toml:", "optimizer.weight_decy", "weight_decay"});
  WriteText(recipe_, TinyRecipe() + "\n[optimizer]\nclip = \"one\"\n");
  ExpectError(Train(), kBadInput, {"tiny.toml:", "optimizer.clip", "number"});
  WriteText(recipe_, TinyRecipe() + "\n[optimizer\n");
  ExpectError(Train(), kBadInput, {"tiny.toml:"});
  WriteText(recipe_, TinyRecipe());
  ExpectError(Train({"--set", "train.stpes=3"}), kBadInput, {"train.stpes", "steps"});
  ExpectError(Train({"--set", "train.micro_batch=3"}), kBadInput,
              {"tiny.toml", "train.micro_batch is 3", "data.batch"});
  ExpectError(Train({"--set", "model.attention.weighting=sofpick"}), kBadInput,
              {"sofpick", "softpick"});
  ExpectError(Train({"--device", "tpu"}), kBadInput, {"tpu", "cpu"});
  ExpectError(RunProgram("train", {folder_ / "none.toml"}), kBadInput,
              {"none.toml", "No such file"});
  EXPECT_FALSE(fs::exists(run_ + "/results.h5"));
}

TEST_F(BadInputTest, MissingDataDoesNotBindTheFolder) {
  ExpectError(Train({"--set", "data.source=nowhere"}), kBadInput,
              {"no folder nowhere", "bigram_backcopy"});
  ExpectError(Train({"--set", "data.source=\"" + (folder_ / "") + "\""}), kBadInput,
              {"index.json", "prepare"});
  const Outcome mended = Train({"--set", "train.steps=12"});
  EXPECT_EQ(mended.exit_code, 0) << mended.err;
}

TEST_F(BadInputTest, DamagedShards) {
  const std::string data = PrepareText(), shard = data + "/train/shard-00000.bin";
  const std::string whole = ReadText(shard);
  const std::vector<std::string> sets = OnText(data);
  WriteText(shard, whole.substr(0, whole.size() - 10));
  ExpectError(Train(sets), kBadInput, {shard, "truncated", "prepare the data again"});
  std::string changed = whole;
  changed[whole.size() / 2] ^= 1;
  WriteText(shard, changed);
  ExpectError(Train(sets), kBadInput, {shard, "SHA-256", "prepare the data again"});
  fs::remove(shard);
  ExpectError(Train(sets), kBadInput, {shard, "No such file"});
}

TEST_F(BadInputTest, HeldOutDataThatAreNone) {
  ASSERT_EQ(Train({"--set", "train.steps=12"}).exit_code, 0);
  const std::string empty = folder_ / "empty";
  fs::create_directories(empty + "/train");
  for (const std::string& model : {run_, run_ + "/model"}) {
    for (const std::vector<std::string>& what : {std::vector<std::string>{"--tasks", "held_out"},
                                                 {"--tasks", "backcopy"},
                                                 {"--analysis"}}) {
      std::vector<std::string> arguments = {model, "--data", empty};
      arguments.insert(arguments.end(), what.begin(), what.end());
      ExpectError(RunProgram("eval", arguments), kBadInput,
                  {empty, "no folder validation", "`prepare`"});
      arguments[2] = folder_ / "nowhere";
      ExpectError(RunProgram("eval", arguments), kBadInput, {"nowhere", "no folder train"});
    }
  }
  // A folder of task files leaves the held-out data to the recipe.
  ExpectError(RunProgram("eval", {run_, "--data", empty, "--tasks", "held_out,wikitext"}),
              kBadInput, {"task wikitext"});
}

TEST_F(BadInputTest, RunRecordsItsInputs) {
  const std::string data = PrepareText();
  const Outcome outcome = Train(OnText(data));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const absl::StatusOr<RunResults> results = ReadResults(run_);
  ASSERT_TRUE(results.ok()) << results.status();
  const std::vector<InputFile>& inputs = results->provenance.inputs;
  ASSERT_EQ(inputs.size(), 2u);
  EXPECT_THAT(inputs[0].path, HasSubstr("train/shard-00000.bin"));
  EXPECT_THAT(inputs[1].path, HasSubstr("validation/shard-00000.bin"));
  for (const InputFile& input : inputs) {
    EXPECT_EQ(input.sha256, *Sha256OfFile(input.path));
    EXPECT_EQ(input.bytes, static_cast<int64_t>(fs::file_size(input.path)));
  }
}

TEST_F(BadInputTest, CorruptCheckpoints) {
  const std::string checkpoint = MakeUnfinishedRun();
  for (const std::string name : {"model.safetensors", "optim.safetensors"}) {
    const std::string file = checkpoint + "/" + name, whole = ReadText(file);
    const std::string huge_header = "\xff\xff\xff\xff\xff\xff\xff\x7f" + whole.substr(8);
    for (const std::string& bad : {huge_header, whole.substr(0, 100), std::string()}) {
      WriteText(file, bad);
      ExpectError(Resume(), kBadInput, {file, "remove " + checkpoint});
    }
    WriteText(file, whole);
  }
  const std::string weights = checkpoint + "/model.safetensors", whole = ReadText(weights);
  WriteText(weights, std::string(8, '\xff') + whole.substr(8));
  ExpectError(RunProgram("eval", {checkpoint, "--analysis"}), kBadInput, {weights});
  WriteText(weights, whole);
  const std::string state = checkpoint + "/state.json";
  WriteText(state, "{\"step\": 1e99}");
  ExpectError(Resume(), kBadInput, {state, "remove " + checkpoint});
  ExpectError(RunProgram("eval", {folder_ / "nothing", "--analysis"}), kBadInput,
              {"nothing", "No such file"});
}

TEST_F(BadInputTest, LossThatIsNotFinite) {
  const std::vector<std::string> hopeless = {"--set", "schedule.peak=1e30", "--set",
                                             "schedule.warmup=0"};
  std::vector<std::string> strict = hopeless;
  strict.insert(strict.end(), {"--set", "optimizer.skip_nonfinite=false"});
  ExpectError(Train(strict), kFailed, {run_, "not finite at step", "schedule.peak"});
  const absl::StatusOr<RunResults> results = ReadResults(run_);
  ASSERT_TRUE(results.ok()) << results.status();
  EXPECT_EQ(results->status, "failed");
  EXPECT_LE(results->series.at(names::kTrainLoss).steps.size(), 5u);

  fs::remove_all(run_);
  ExpectError(Train(hopeless), kFailed, {run_, "not finite at step", "before", "schedule.peak"});
  const absl::StatusOr<RunResults> skipped = ReadResults(run_);
  ASSERT_TRUE(skipped.ok()) << skipped.status();
  EXPECT_LE(skipped->series.at(names::kTrainLoss).steps.size(), 30u);
}

TEST_F(BadInputTest, RunFolders) {
  const Outcome first = Train({"--set", "train.steps=12"});
  ASSERT_EQ(first.exit_code, 0) << first.err;
  EXPECT_EQ(first.out, run_ + "\n");
  const std::string record = ReadText(run_ + "/results.h5");

  ExpectError(Train({"--set", "train.steps=12"}), kBadInput, {run_, "finished run", "--out"});
  const Outcome again = Train({"--set", "train.steps=12", "--resume"});
  EXPECT_EQ(again.exit_code, 0) << again.err;
  ExpectError(Train({"--set", "train.steps=13", "--resume"}), kBadInput,
              {"recipe.toml:", "steps = 12", "steps = 13", "--out"});
  EXPECT_TRUE(ReadText(run_ + "/results.h5") == record) << "the finished run has changed";

  const std::string foreign = folder_ / "foreign";
  fs::create_directory(foreign);
  WriteText(foreign + "/thesis.tex", "years of work");
  ExpectError(RunProgram("train", {recipe_, "--out", foreign}), kBadInput,
              {foreign, "holds files", "--out"});
  EXPECT_EQ(ReadText(foreign + "/thesis.tex"), "years of work");
  EXPECT_EQ(std::distance(fs::directory_iterator(foreign), fs::directory_iterator()), 1);
}

TEST_F(BadInputTest, UnfinishedRuns) {
  const std::string checkpoint = MakeUnfinishedRun();
  ExpectError(Train({"--set", "train.steps=100000"}), kBadInput,
              {run_, "unfinished run", "--resume", "--out"});
  ExpectError(Train({"--resume"}), kBadInput, {"recipe.toml:", "steps = 100000", "steps = 60"});
  EXPECT_TRUE(fs::exists(checkpoint + "/state.json"));
  const std::string results = run_ + "/results.h5", record = ReadText(results);
  WriteText(results, record.substr(0, record.size() / 2));
  ExpectError(Resume(), kBadInput, {results});
  fs::remove(results);
  ExpectError(Resume(), kBadInput, {run_, "results.h5"});
}

TEST_F(BadInputTest, TwoProcessesInOneFolder) {
  const std::vector<std::string> endless = Arguments({"--set", "train.steps=100000", "--resume"});
  Program first("train", endless);
  while (first.Running() && !fs::exists(run_ + "/results.h5")) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  ExpectError(RunProgram("train", endless), kBadInput,
              {"another process is training in", run_, "--out"});
  EXPECT_TRUE(first.Running());
}

TEST_F(BadInputTest, ReportsAndPreparations) {
  ExpectError(RunProgram("report", {folder_ / "nothing", "--out", folder_ / "report"}), kBadInput,
              {"nothing"});
  ExpectError(RunProgram("prepare", {folder_ / "nothing.txt", "--out", folder_ / "data"}),
              kBadInput, {"nothing.txt"});
  EXPECT_FALSE(fs::exists(folder_ / "report/report.html"));
}

}  // namespace
}  // namespace attnlab
