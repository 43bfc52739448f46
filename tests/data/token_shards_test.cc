#include "libs/data/token_shards.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <numeric>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "libs/data/batch_source.h"
#include "libs/data/batcher.h"

namespace attnlab {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

std::string FreshFolder(const std::string& name) {
  const std::string folder =
      absl::StrCat(::testing::TempDir(), "/attnlab_data_", getpid(), "_", name);
  fs::remove_all(folder);
  return folder;
}

// Documents whose tokens count 0, 1, 2 ... modulo the vocabulary, in shards of 100 tokens.
void WriteCounting(const std::string& folder, int32_t vocab_size, int64_t tokens) {
  auto writer = TokenShardWriter::Create(folder, {vocab_size, 7, 8, "../tokenizer", "f00d"}, 100);
  ASSERT_TRUE(writer.ok()) << writer.status();
  int32_t next = 0;
  for (int64_t left = tokens, size = 1; left > 0; left -= size, size = std::min(left, size + 5)) {
    std::vector<int32_t> document(size);
    for (int32_t& id : document) id = next++ % vocab_size;
    ASSERT_TRUE((*writer)->AddDocument(document, 3 * size).ok());
  }
  ASSERT_TRUE((*writer)->Finish().ok());
}

class Shards : public ::testing::TestWithParam<int32_t> {};

TEST_P(Shards, ReadBackAcrossShards) {
  const std::string folder = FreshFolder("read");
  WriteCounting(folder, GetParam(), 1234);
  const auto shards = TokenShards::Open(folder);
  ASSERT_TRUE(shards.ok()) << shards.status();
  EXPECT_EQ((*shards)->tokens(), 1234);
  EXPECT_EQ((*shards)->text_bytes(), 3 * 1234);
  EXPECT_EQ((*shards)->info().bos_id, 7);
  EXPECT_EQ((*shards)->info().tokenizer_fingerprint, "f00d");
  std::vector<int32_t> ids(1234), expected(1234);
  for (size_t i = 0; i < expected.size(); ++i) expected[i] = static_cast<int32_t>(i) % GetParam();
  ASSERT_TRUE((*shards)->Read(0, 1234, ids.data()).ok());
  EXPECT_EQ(ids, expected);
  std::vector<int32_t> middle(150);
  ASSERT_TRUE((*shards)->Read(99, 150, middle.data()).ok());
  EXPECT_TRUE(std::equal(middle.begin(), middle.end(), expected.begin() + 99));
  const auto documents = (*shards)->Documents();
  ASSERT_TRUE(documents.ok()) << documents.status();
  EXPECT_EQ((*documents)[0], 0);
  EXPECT_EQ((*documents)[1], 1);
  EXPECT_EQ((*documents)[2], 7);
}

INSTANTIATE_TEST_SUITE_P(TwoAndFourBytes, Shards, ::testing::Values(1000, 100000));

TEST(TokenShards, AnExistingFolderIsNotOverwritten) {
  const std::string folder = FreshFolder("twice");
  WriteCounting(folder, 100, 50);
  EXPECT_EQ(TokenShardWriter::Create(folder, {100, -1, -1, "", ""}, 100).status().code(),
            absl::StatusCode::kAlreadyExists);
}

// Each damage gives one line that names the file.
TEST(TokenShards, DamageIsFound) {
  const auto message_after = [](auto&& damage) {
    const std::string folder = FreshFolder("damage");
    WriteCounting(folder, 1000, 350);
    damage(folder);
    const auto shards = TokenShards::Open(folder);
    EXPECT_FALSE(shards.ok());
    return std::string(shards.status().message());
  };
  const auto replace = [](const std::string& path, const std::string& from, const std::string& to) {
    const std::string before = *ReadFile(path);
    const std::string after = absl::StrReplaceAll(before, {{from, to}});
    EXPECT_NE(before, after);
    EXPECT_TRUE(WriteFileAtomically(path, after).ok());
  };
  const auto index = [&](const std::string& from, const std::string& to) {
    return message_after([&](const std::string& f) { replace(f + "/index.json", from, to); });
  };
  EXPECT_THAT(message_after([](auto& f) { fs::resize_file(f + "/shard-00001.bin", 200); }),
              HasSubstr("shard-00001.bin: truncated: 200 bytes, 232 are needed"));
  EXPECT_THAT(message_after([](auto& f) { fs::resize_file(f + "/shard-00001.bin", 10); }),
              HasSubstr("header is not whole"));
  EXPECT_THAT(message_after([](auto& f) { fs::remove(f + "/shard-00002.bin"); }),
              HasSubstr("shard-00002.bin"));
  EXPECT_THAT(message_after([](auto& f) {
                std::string bytes = *ReadFile(f + "/shard-00000.bin");
                bytes[100] ^= 1;
                EXPECT_TRUE(WriteFileAtomically(f + "/shard-00000.bin", bytes).ok());
              }),
              HasSubstr("corrupt"));
  EXPECT_THAT(message_after([](auto& f) { fs::remove(f + "/index.json"); }),
              HasSubstr("no index.json"));
  EXPECT_THAT(index("\"version\": 1", "\"version\": 2"), HasSubstr("version 2"));
  EXPECT_THAT(index("\"tokens\": 100", "\"tokens\": -100"), HasSubstr("no plausible count"));
  EXPECT_THAT(index("\"tokens\": 100", "\"tokens\": 4611686018427387904"),
              HasSubstr("no plausible count"));
  EXPECT_THAT(index("\"tokens\": 350", "\"tokens\": 351"), HasSubstr("the shards hold 350"));
  EXPECT_THAT(index("shard-00000.bin", "../../etc/passwd"), HasSubstr("no plain file name"));
  EXPECT_THAT(index("uint16", "uint32"), HasSubstr("of 2 bytes"));
  EXPECT_THAT(index("\"dtype\"", "\"dtipe\""), HasSubstr("dtype: missing"));
}

TEST(TokenShards, IdsOutsideTheVocabularyAreFoundWhenRead) {
  const std::string folder = FreshFolder("range");
  WriteCounting(folder, 1000, 350);
  const std::string index = *ReadFile(folder + "/index.json");
  ASSERT_TRUE(
      WriteFileAtomically(folder + "/index.json", absl::StrReplaceAll(index, {{"1000", "300"}}))
          .ok());
  const auto shards = TokenShards::Open(folder);
  ASSERT_TRUE(shards.ok()) << shards.status();
  std::vector<int32_t> ids(350);
  EXPECT_TRUE((*shards)->Read(0, 300, ids.data()).ok());
  EXPECT_THAT(std::string((*shards)->Read(0, 350, ids.data()).message()),
              HasSubstr("token id 349 is not in the vocabulary of 300"));
}

TEST(Batcher, PackedWindowsCoverEveryTokenOnceAnEpoch) {
  const std::string folder = FreshFolder("packed");
  WriteCounting(folder, 60000, 1001);
  const auto shards = *TokenShards::Open(folder);
  auto batcher = Batcher::Create(*shards, 10, /*bos_every_sequence=*/false, 3);
  ASSERT_TRUE(batcher.ok());
  ASSERT_EQ(batcher->windows(), 100);
  std::vector<std::set<int32_t>> targets(2);
  std::vector<int32_t> firsts;
  for (int64_t row = 0; row < 200; row += 8) {  // batches that cross the end of the epoch
    const TokenBatch batch = *batcher->Shuffled(row, 8);
    for (int64_t r = 0; r < 8; ++r) {
      const int32_t* tokens = batch.Row(r);
      firsts.push_back(tokens[0]);
      for (int64_t c = 1; c < batch.columns; ++c) {
        EXPECT_EQ(tokens[c], tokens[c - 1] + 1);
        EXPECT_TRUE(targets[(row + r) / 100].insert(tokens[c]).second);
      }
    }
  }
  EXPECT_EQ(targets[0].size(), 1000u);
  EXPECT_EQ(targets[1], targets[0]);
  EXPECT_FALSE(std::is_sorted(firsts.begin(), firsts.begin() + 100));
  EXPECT_FALSE(std::equal(firsts.begin(), firsts.begin() + 100, firsts.begin() + 100));
}

TEST(Batcher, AnyStepWithoutReplay) {
  const std::string folder = FreshFolder("resume");
  WriteCounting(folder, 60000, 1001);
  const auto shards = *TokenShards::Open(folder);
  auto a = *Batcher::Create(*shards, 10, false, 3), b = *Batcher::Create(*shards, 10, false, 3);
  for (int64_t step = 0; step < 40; ++step) (void)*a.Shuffled(step * 8, 8);
  EXPECT_EQ(a.Shuffled(320, 8)->tokens, b.Shuffled(320, 8)->tokens);
  EXPECT_EQ(a.Shuffled(0, 8)->tokens, b.Shuffled(0, 8)->tokens);
}

TEST(Batcher, BosEverySequence) {
  const std::string folder = FreshFolder("bos");
  WriteCounting(folder, 60000, 1000);
  const auto shards = *TokenShards::Open(folder);
  auto batcher = *Batcher::Create(*shards, 10, /*bos_every_sequence=*/true, 3);
  EXPECT_EQ(batcher.windows(), 100);
  const TokenBatch batch = *batcher.Sequential(98, 2);
  EXPECT_EQ(batch.columns, 11);
  EXPECT_EQ(batch.Row(1)[0], 7);
  EXPECT_EQ(batch.Row(1)[1], 990);
  EXPECT_EQ(batch.Row(1)[10], 999);
}

TEST(Batcher, TooLittleTextIsAnError) {
  const std::string folder = FreshFolder("little");
  WriteCounting(folder, 100, 50);
  const auto shards = *TokenShards::Open(folder);
  EXPECT_THAT(std::string(Batcher::Create(*shards, 50, false, 0).status().message()),
              HasSubstr("less than one sequence"));
  EXPECT_TRUE(Batcher::Create(*shards, 49, false, 0).ok());
}

TEST(BatchSource, TextFromAFolder) {
  const std::string folder = FreshFolder("source");
  WriteCounting(folder + "/train", 1000, 2000);
  WriteCounting(folder + "/validation", 1000, 500);
  DataOptions options;
  options.source = folder;
  options.sequence_length = 20;
  options.batch = 4;
  options.validation_sequences = 10;
  const auto source = OpenBatchSource(options, 0);
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_EQ((*source)->validation_batches(), 3);
  EXPECT_EQ((*source)->Validation(2)->rows, 2);
  EXPECT_EQ((*source)->Validation(0)->tokens[25], 24);
  EXPECT_DOUBLE_EQ((*source)->validation_bytes_per_token(), 3);
  EXPECT_EQ((*source)->tokens_per_epoch(), 1980);
  EXPECT_EQ(fs::path((*source)->tokenizer_path()), fs::path(folder) / "tokenizer");
  options.validation_sequences = 0;
  EXPECT_EQ((*OpenBatchSource(options, 0))->validation_batches(), 6);
}

}  // namespace
}  // namespace attnlab
