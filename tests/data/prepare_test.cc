#include "libs/data/prepare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "libs/core/files.h"
#include "libs/core/rng.h"
#include "libs/data/token_shards.h"
#include "libs/io/json.h"
#include "libs/text/tokenizer.h"

namespace attnlab {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class PrepareTest : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    std::string lines;
    Rng rng(1, "text");
    for (int d = 0; d < 200; ++d) {
      std::string text = absl::StrCat("document ", d, ":");
      for (uint64_t w = 0, n = rng.Below(200); w < n; ++w) {
        text += ' ';
        for (uint64_t c = 0; c < 2 + w % 7; ++c) text += static_cast<char>('a' + rng.Below(9));
      }
      texts_.push_back(text);
      Json line = Json::MakeObject();
      lines += line.Set("text", text).Dump() + "\n";
    }
    options_.inputs = {Write("in.jsonl", lines)};
    options_.out = folder_ + "/out";
    options_.tokenizer = "bytes";
    options_.threads = 3;
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string Write(const std::string& name, const std::string& contents) {
    const std::string path = folder_ + "/" + name;
    EXPECT_TRUE(WriteFileAtomically(path, contents).ok());
    return path;
  }
  // The documents of a split, as text.
  std::vector<std::string> Documents(const std::string& split) {
    const auto shards = TokenShards::Open(options_.out + "/" + split);
    EXPECT_TRUE(shards.ok()) << shards.status();
    const auto tokenizer = LoadTokenizer(options_.out + "/tokenizer");
    EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
    EXPECT_EQ((*tokenizer)->fingerprint(), (*shards)->info().tokenizer_fingerprint);
    std::vector<int64_t> starts = *(*shards)->Documents();
    starts.push_back((*shards)->tokens());
    std::vector<std::string> documents;
    for (size_t i = 0; i + 1 < starts.size(); ++i) {
      std::vector<int32_t> ids(starts[i + 1] - starts[i]);
      EXPECT_TRUE((*shards)->Read(starts[i], ids.size(), ids.data()).ok());
      EXPECT_EQ(ids.back(), (*tokenizer)->eos_id());
      documents.push_back((*tokenizer)->Decode(ids));
    }
    return documents;
  }

  const std::string folder_ = absl::StrCat(::testing::TempDir(), "/attnlab_prepare_", getpid());
  std::vector<std::string> texts_;
  PrepareOptions options_;
};

TEST_F(PrepareTest, EveryDocumentOnceInAnOrderOfTheSeed) {
  const auto report = Prepare(options_);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->train.documents, 198);
  EXPECT_EQ(report->validation.documents, 2);
  const std::vector<std::string> train = Documents("train"), held_out = Documents("validation");
  std::multiset<std::string> all(train.begin(), train.end());
  all.insert(held_out.begin(), held_out.end());
  EXPECT_EQ(all, std::multiset<std::string>(texts_.begin(), texts_.end()));
  EXPECT_FALSE(std::equal(train.begin(), train.end(), texts_.begin()));

  // The same bytes again whatever the number of threads; another order with another seed.
  const std::string first = *ReadFile(options_.out + "/train/shard-00000.bin");
  options_.out = folder_ + "/again";
  options_.threads = 1;
  ASSERT_TRUE(Prepare(options_).ok());
  EXPECT_EQ(*ReadFile(options_.out + "/train/shard-00000.bin"), first);
  options_.out = folder_ + "/other";
  options_.seed = 1;
  ASSERT_TRUE(Prepare(options_).ok());
  EXPECT_NE(Documents("train"), train);
}

TEST_F(PrepareTest, HeldOutFilesAndManyShards) {
  options_.validation = {Write("held-out.txt", "held out")};
  options_.shard_tokens = 1000;
  ASSERT_TRUE(Prepare(options_).ok());
  EXPECT_EQ(Documents("validation"), std::vector<std::string>{"held out"});
  EXPECT_EQ(Documents("train").size(), 200u);
  EXPECT_TRUE(fs::exists(options_.out + "/train/shard-00010.bin"));
  const auto record = Json::ParseFile(options_.out + "/prepare.json");
  ASSERT_TRUE(record.ok());
  EXPECT_EQ(*JsonRef(*record)["inputs"][1]["sha256"].String(),
            *Sha256OfFile(options_.validation[0]));
}

TEST_F(PrepareTest, TrainsAVocabulary) {
  options_.tokenizer = "";
  options_.vocab_size = 500;
  options_.bos = true;
  const auto report = Prepare(options_);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->vocab_size, 500);
  EXPECT_LT(report->train.tokens, report->train.text_bytes);
  std::multiset<std::string> all;
  for (const char* split : {"train", "validation"}) {
    for (const std::string& document : Documents(split)) all.insert(document);
  }
  EXPECT_EQ(all, std::multiset<std::string>(texts_.begin(), texts_.end()));
}

TEST_F(PrepareTest, AFinishedFolderIsKeptAndAnUnfinishedOneReplaced) {
  fs::create_directories(options_.out + ".tmp/train");
  ASSERT_TRUE(Prepare(options_).ok());
  EXPECT_FALSE(fs::exists(options_.out + ".tmp"));
  const auto again = Prepare(options_);
  EXPECT_EQ(again.status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(Documents("train").size(), 198u);
}

TEST_F(PrepareTest, AFailedRunLeavesNothing) {
  options_.inputs.push_back(Write("bad.jsonl", "{\"text\": \"a\"}\n{\"no\": 1}\n"));
  const auto report = Prepare(options_);
  EXPECT_THAT(std::string(report.status().message()), HasSubstr("bad.jsonl:2"));
  EXPECT_FALSE(fs::exists(options_.out));
  EXPECT_FALSE(fs::exists(options_.out + ".tmp"));
}

TEST_F(PrepareTest, BadOptionsAreErrors) {
  const auto message = [&](auto&& change) {
    PrepareOptions options = options_;
    change(options);
    return std::string(Prepare(options).status().message());
  };
  EXPECT_THAT(message([](PrepareOptions& o) { o.inputs.clear(); }), HasSubstr("no input"));
  EXPECT_THAT(message([](PrepareOptions& o) { o.validation_share = 1; }),
              HasSubstr("validation_share"));
  EXPECT_THAT(message([](PrepareOptions& o) { o.invalid_utf8 = "ignore"; }),
              HasSubstr("invalid_utf8"));
  EXPECT_THAT(message([&](PrepareOptions& o) { o.inputs = {Write("one.txt", "one")}; }),
              HasSubstr("too few to hold out"));
  EXPECT_THAT(message([&](PrepareOptions& o) { o.inputs = {Write("none.txt", "")}; }),
              HasSubstr("no documents"));
}

}  // namespace
}  // namespace attnlab
