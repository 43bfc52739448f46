#include "libs/io/results.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "libs/core/files.h"
#include "libs/core/rng.h"
#include "libs/io/h5.h"

namespace attnlab {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string FreshPath(const std::string& name) {
  const std::string path = absl::StrCat(::testing::TempDir(), "/attnlab_results_", name, ".h5");
  std::filesystem::remove(path);
  return path;
}

// Without the sync of WriteFileAtomically: these files need not last.
void Put(const std::string& path, const std::string& contents) {
  std::ofstream(path, std::ios::binary) << contents;
}

RunInfo Info() { return {"train", "quickstart", "softpick"}; }

// A record with something in every part.
RunResults Full() {
  RunResults r;
  r.info = Info();
  r.created_utc = "2026-01-02T03:04:05Z";
  r.finished_utc = "2026-01-02T03:14:05Z";
  r.status = "finished";
  r.provenance.commit = "1a2b3c";
  r.provenance.dirty = true;
  r.provenance.seed = -7;
  r.provenance.recipe = "name = \"quickstart\"\n" + std::string(100000, '#') + "\n";
  r.provenance.inputs = {{"data/a.bin", "00ff", 12}, {"data/b.bin", "", 0}};
  r.series["train_loss"] = {
      {"nats", "mean", "lower", 1.25, "entropy"}, {1, 2, 2, 9}, {4, 3, 2, NAN}};
  r.series["none yet"] = {};
  r.metrics["sink_rate_0.3_T64"] = {0.25, "sink rate", "fraction", "lower", "what", 64, 100};
  r.evals["passkey accuracy"] = {"passkey", "accuracy", 0.5, 0.1, 200, 0, true, "ours 1", {0, 1}};
  r.histograms["weights"] = {{0, 1, 2}, {5, 6}, 300};
  r.attention["sink_rate"] = {2, 3, {0, 1, 2, 3, 4, 5}, "sink", "fraction", "how", 64, 10};
  r.attention["pruned"] = {2, 3, {0, 1, 2, 3, NAN, NAN}, "", "", "", 64, 10, {3, 1}};
  r.layers["max_abs_hidden"] = {{1, 2, 3}, "max |h|", "", "largest"};
  r.maps["input/1 layer 0"] = {2, 2, {1, 0, 0.5, 0.5}, {"<s>", "ü"}, 0, 1, "input 1", true};
  r.boxes["hidden"] = {{-3, -1, 0, 1, 4}, {-2, -1, 0, 1, 2}};
  r.claims["no sink"] = {"no sink", "a paper", 0, 0.001, "<= 0.01", "held", "quickstart"};
  r.tables["bench"] = {{"kernel", "", {}, {"v1", "v2"}}, {"time", "ms", {1.5, 0.75}, {}}};
  return r;
}

TEST(Results, EveryPartSurvives) {
  const std::string path = FreshPath("round");
  RunResults full = Full();
  const auto image = SerializeResults(full);
  ASSERT_TRUE(image.ok()) << image.status();
  Put(path, *image);
  auto read = ReadResults(path);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->info.variant, "softpick");
  EXPECT_EQ(read->finished_utc, full.finished_utc);
  EXPECT_EQ(read->provenance.recipe, full.provenance.recipe);
  EXPECT_EQ(read->provenance.seed, -7);
  EXPECT_TRUE(read->provenance.dirty);
  ASSERT_EQ(read->provenance.inputs.size(), 2u);
  EXPECT_EQ(read->provenance.inputs[0].sha256, "00ff");
  const Series& loss = read->series.at("train_loss");
  EXPECT_EQ(loss.info.target, 1.25);
  EXPECT_THAT(loss.steps, ElementsAre(1, 2, 2, 9));
  EXPECT_TRUE(std::isnan(loss.values[3]));
  EXPECT_FALSE(read->series.at("none yet").info.target.has_value());
  EXPECT_EQ(read->metrics.at("sink_rate_0.3_T64").tokens, 64);
  EXPECT_THAT(read->evals.at("passkey accuracy").per_example, ElementsAre(0, 1));
  EXPECT_THAT(read->histograms.at("weights").counts, ElementsAre(5, 6));
  EXPECT_EQ(read->attention.at("sink_rate").heads, 3);
  EXPECT_EQ(read->attention.at("sink_rate").Present().size(), 6u);
  EXPECT_THAT(read->attention.at("pruned").Present(), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(read->layers.at("max_abs_hidden").values, ElementsAre(1, 2, 3));
  EXPECT_THAT(read->maps.at("input/1 layer 0").tokens, ElementsAre("<s>", "ü"));
  EXPECT_EQ(read->boxes.at("hidden")[0].max, 4);
  EXPECT_EQ(read->claims.at("no sink").verdict, "held");
  ASSERT_EQ(read->tables["bench"].size(), 2u);
  EXPECT_THAT(read->tables["bench"][0].texts, ElementsAre("v1", "v2"));
  EXPECT_THAT(read->tables["bench"][1].numbers, ElementsAre(1.5, 0.75));
  // The same record gives the same bytes, also after a detour through the file.
  EXPECT_EQ(SerializeResults(*read).value(), *image);
}

TEST(Results, NamesMayBeAnything) {
  for (const std::string name : {"", ".", "..", "a/b", "%", "%2f", "100%", "ü\n\"", "./x"}) {
    EXPECT_EQ(h5::DecodeName(h5::EncodeName(name)), name);
    EXPECT_EQ(h5::EncodeName(name).find('/'), std::string::npos);
  }
}

TEST(Results, CreateKeepsWhatIsThere) {
  const std::string path = FreshPath("create");
  auto writer = ResultsWriter::Create(path, Info(), {});
  ASSERT_TRUE(writer.ok()) << writer.status();
  EXPECT_EQ(ReadResults(path)->status, "running");
  auto again = ResultsWriter::Create(path, Info(), {}).status();
  EXPECT_EQ(again.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(std::string(again.message()), HasSubstr("--resume"));
  ASSERT_TRUE((*writer)->Finish("finished").ok());
  again = ResultsWriter::Create(path, Info(), {}).status();
  EXPECT_EQ(again.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(std::string(again.message()), HasSubstr("finished run"));
  EXPECT_EQ(ResultsWriter::Reopen(path, 0).status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(ReadResults(FreshPath("absent")).status().code(), absl::StatusCode::kNotFound);
}

TEST(Results, ReopenDropsLaterRowsAndAmendAdds) {
  const std::string path = FreshPath("reopen");
  auto writer = ResultsWriter::Create(path, Info(), {}).value();
  for (int step = 1; step <= 10; ++step) writer->Append("train_loss", step, 1.0 / step);
  writer->Append("validation_loss", 5, 2.0);
  ASSERT_TRUE(writer->Flush().ok());
  writer = ResultsWriter::Reopen(path, 6).value();
  writer->Append("train_loss", 7, 42);
  ASSERT_TRUE(writer->Finish("finished").ok());
  writer = ResultsWriter::Amend(path).value();
  writer->Write("perplexity", Metric{7.5, "perplexity", "", "lower", "", 0, 0});
  ASSERT_TRUE(writer->Flush().ok());
  const RunResults read = ReadResults(path).value();
  EXPECT_THAT(read.series.at("train_loss").steps, ElementsAre(1, 2, 3, 4, 5, 6, 7));
  EXPECT_EQ(read.series.at("train_loss").values.back(), 42);
  EXPECT_EQ(read.series.at("validation_loss").steps.size(), 1u);
  EXPECT_EQ(read.metrics.at("perplexity").value, 7.5);
  EXPECT_EQ(read.status, "finished");
}

TEST(Results, FullDiskLosesNothing) {
  const std::string path = FreshPath("full");
  auto writer = ResultsWriter::Create(path, Info(), {}).value();
  writer->Append("train_loss", 1, 0.5);
  ASSERT_TRUE(writer->Flush().ok());
  for (int step = 2; step <= 20000; ++step) writer->Append("train_loss", step, 0.5);

  rlimit old;
  getrlimit(RLIMIT_FSIZE, &old);
  signal(SIGXFSZ, SIG_IGN);
  const rlimit small{100000, old.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  const absl::Status failed = writer->Flush();
  setrlimit(RLIMIT_FSIZE, &old);
  EXPECT_FALSE(failed.ok());
  EXPECT_EQ(ReadResults(path)->series.at("train_loss").steps.size(), 1u);
  EXPECT_FALSE(std::filesystem::exists(path + ".tmp"));

  ASSERT_TRUE(writer->Flush().ok());  // there is room again
  EXPECT_EQ(ReadResults(path)->series.at("train_loss").steps.size(), 20000u);
}

// A child appends a row and flushes as fast as it can and tells each flushed step through a pipe;
// the parent kills it at a random moment. What was told must be in the file, in order and exact.
TEST(Results, KillAtAnyMomentKeepsEveryFlushedRow) {
  const std::string path = FreshPath("kill");
  ASSERT_TRUE(ResultsWriter::Create(path, Info(), {}).ok());
  int64_t kept = 0;
  for (uint64_t round = 0; round < 20; ++round) {
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      close(ends[0]);
      auto writer = ResultsWriter::Reopen(path, kept);
      if (!writer.ok()) _exit(1);
      for (int64_t step = kept + 1;; ++step) {
        (*writer)->Append("train_loss", step, std::sqrt(static_cast<double>(step)));
        if (!(*writer)->Flush().ok()) _exit(2);
        if (write(ends[1], &step, sizeof step) != sizeof step) _exit(3);
      }
    }
    close(ends[1]);
    // Every other child lives until its first flush, however slow the machine.
    pollfd first{ends[0], POLLIN, 0};
    if (round % 2 == 1) poll(&first, 1, /*ms=*/60000);
    usleep(1000 + Rng(3, "kill", round).Below(60000));
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the child ended by itself: " << WEXITSTATUS(status);
    int64_t told = kept, step = 0;
    while (read(ends[0], &step, sizeof step) == sizeof step) told = step;
    close(ends[0]);

    const auto results = ReadResults(path);
    ASSERT_TRUE(results.ok()) << results.status();
    const auto series = results->series.find("train_loss");
    const int64_t rows = series == results->series.end() ? 0 : series->second.steps.size();
    EXPECT_GE(rows, told);
    EXPECT_LE(rows, told + 1);  // one more flush may have ended before it could be told
    for (int64_t i = 0; i < rows; ++i) {
      EXPECT_EQ(series->second.steps[i], i + 1);
      EXPECT_EQ(series->second.values[i], std::sqrt(static_cast<double>(i + 1)));
    }
    kept = told;
  }
  EXPECT_GT(kept, 0);
}

// Damage of any kind breaks the seal and is told so before HDF5 sees the file.
TEST(Results, DamageIsFound) {
  RunResults full = Full();
  const std::string image = SerializeResults(full).value();
  const std::string path = FreshPath("damage");
  for (uint64_t round = 0; round < 300; ++round) {
    Rng rng(4, "damage", round);
    std::string damaged = image;
    const size_t place = rng.Below(round % 2 == 0 ? 512 : damaged.size());
    if (round % 5 == 0) {
      damaged.resize(place);
    } else {
      damaged[place] = static_cast<char>(damaged[place] ^ (1 << rng.Below(8)));
    }
    Put(path, damaged);
    const absl::Status status = ReadResults(path).status();
    EXPECT_TRUE(status.code() == absl::StatusCode::kDataLoss ||
                status.code() == absl::StatusCode::kInvalidArgument)
        << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(path));
  }
  Put(path, image + "x");
  EXPECT_EQ(ReadResults(path).status().code(), absl::StatusCode::kDataLoss);
}

// A forger can seal what he wants. The reader must then refuse or survive what the parser survives.
std::string Sealed(const std::string& body) {
  Sha256 sha;
  sha.Update({reinterpret_cast<const uint8_t*>(body.data()), body.size()});
  std::string seal = absl::StrCat("attnlab results\n", body.size(),
                                  " bytes of HDF5 follow byte 512\nsha256 ", sha.Hex(), "\n");
  seal.resize(512, '\0');
  return seal + body;
}

TEST(Results, SealedMutationsAreRefusedOrRead) {
  RunResults full = Full();
  full.provenance.recipe = "short";
  const std::string body = SerializeResults(full).value().substr(512);
  ASSERT_EQ(Sealed(body), SerializeResults(full).value());
  const std::string path = FreshPath("forged");
  int crashes = 0, refused = 0;
  const int rounds = 200;
  for (int round = 0; round < rounds; ++round) {
    Rng rng(5, "forge", round);
    std::string forged = body;
    const uint64_t changes = 1 + rng.Below(3);
    for (uint64_t i = 0; i < changes; ++i)
      forged[rng.Below(forged.size())] = static_cast<char>(rng.Below(256));
    Put(path, Sealed(forged));
    const pid_t child = fork();
    if (child == 0) {
      close(STDERR_FILENO);
      _exit(ReadResults(path).ok() ? 0 : 1);
    }
    int status = 0;
    waitpid(child, &status, 0);
    crashes += WIFSIGNALED(status);
    refused += WIFEXITED(status) && WEXITSTATUS(status) == 1;
  }

  EXPECT_EQ(crashes, 0);
  EXPECT_GT(refused, 0);
}

// A sealed file from elsewhere, with everything that a results file never has.
TEST(H5, ForeignLinksLayoutsAndTypesAreRefused) {
  const std::string path = ATTNLAB_SOURCE_DIR "/tests/golden/results/foreign.h5";
  const auto reader = h5::Reader::Open(ReadFile(path).value(), "foreign.h5");
  ASSERT_TRUE(reader.ok()) << reader.status();
  EXPECT_THAT(reader->Doubles("/plain")->values, ElementsAre(0, 1, 2, 3));
  EXPECT_EQ(reader->Doubles("/absent").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(reader->Doubles("/soft").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(reader->Doubles("/external").status().code(), absl::StatusCode::kNotFound);
  const auto expect_refusal = [](const absl::Status& status, const std::string& message) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
  };
  expect_refusal(reader->Doubles("/chunked").status(), "/chunked: expected a contiguous dataset");
  expect_refusal(reader->Doubles("/elsewhere").status(), "expected a contiguous dataset");
  expect_refusal(reader->Doubles("/huge").status(), "larger than the file");
  expect_refusal(reader->Doubles("/short").status(), "another type");
  expect_refusal(reader->Doubles("/").status(), "is not a dataset");
  expect_refusal(reader->Integers("/plain").status(), "another type");
  expect_refusal(reader->Strings("/plain").status(), "expected texts");
  expect_refusal(reader->Strings("/texts").status(), "expected texts");
  expect_refusal(reader->Children("/plain").status(), "is not a group");
  std::string text;
  expect_refusal(reader->Attribute("/", "variable", text), "another type");
  EXPECT_EQ(reader->Attribute("/", "absent", text).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ReadResults(path).status().code(), absl::StatusCode::kNotFound);  // no schema_version
}

}  // namespace
}  // namespace attnlab
