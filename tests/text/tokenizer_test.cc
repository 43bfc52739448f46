#include "libs/text/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "libs/core/files.h"
#include "libs/core/rng.h"
#include "libs/io/json.h"
#include "libs/text/sentencepiece_bridge.h"
#include "libs/text/sentencepiece_tokenizer.h"
#include "libs/text/utf8.h"

namespace attnlab {
namespace {

using ::testing::HasSubstr;

const std::string kGolden = ATTNLAB_SOURCE_DIR "/tests/golden/tokenizers/";

struct Case {
  std::string text;
  std::vector<int32_t> ids;
};

// The texts of cases.json and the ids of the peer that `name` names.
std::vector<Case> Cases(const std::string& name) {
  const auto json = Json::ParseFile(kGolden + "cases.json");
  EXPECT_TRUE(json.ok()) << json.status();
  std::vector<Case> cases;
  const auto elements = JsonRef(*json)["cases"].Elements();
  for (const JsonRef& element : *elements) {
    const auto ids = element[name].Integers();
    EXPECT_TRUE(ids.ok()) << ids.status();
    cases.push_back({absl::HexStringToBytes(*element["hex"].String()),
                     std::vector<int32_t>(ids->begin(), ids->end())});
  }
  EXPECT_GT(cases.size(), 20u);
  return cases;
}

void ExpectAgreement(const Tokenizer& tokenizer, const std::string& name) {
  for (int round = 0; round < 2; ++round) {  // the second time from the cache
    for (const Case& c : Cases(name))
      EXPECT_EQ(tokenizer.Encode(c.text), c.ids) << name << " " << absl::CHexEscape(c.text);
  }
}

std::string Valid(const std::string& text) {
  std::string storage;
  return std::string(ReplaceInvalidUtf8(text, storage));
}

int64_t BytesOf(const Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  return std::accumulate(ids.begin(), ids.end(), int64_t{0},
                         [&](int64_t sum, int32_t id) { return sum + tokenizer.TokenBytes(id); });
}

std::unique_ptr<Tokenizer> Load(const std::string& path) {
  auto tokenizer = LoadTokenizer(path);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return tokenizer.ok() ? *std::move(tokenizer) : nullptr;
}

TEST(Tokenizer, SmallBpeAgreesWithHuggingFace) {
  const auto tokenizer = Load(kGolden + "small_bpe.json");
  ASSERT_NE(tokenizer, nullptr);
  ExpectAgreement(*tokenizer, "small_bpe");
  EXPECT_EQ(tokenizer->eos_id(), 0);
  EXPECT_EQ(tokenizer->bos_id(), 0);
}

TEST(Tokenizer, SmallSentencePieceAgreesWithTheLibrary) {
  const auto tokenizer = Load(kGolden + "small.model");
  ASSERT_NE(tokenizer, nullptr);
  ExpectAgreement(*tokenizer, "small_sentencepiece");
  EXPECT_EQ(tokenizer->bos_id(), 1);
  EXPECT_EQ(tokenizer->eos_id(), 2);
}

// The way word by word against the library on random text of spaces, newlines and odd characters.
TEST(Tokenizer, SentencePieceWordsEqualTheWhole) {
  const auto tokenizer = Load(kGolden + "small.model");
  ASSERT_NE(tokenizer, nullptr);
  SentencePieceModel library;
  ASSERT_EQ(library.Load(tokenizer->files()[0].contents), "");
  const std::vector<std::string> parts = {
      " ",        "  ",           "\n",           "\t",   "th", "e sink", "x[i]",   "12345",
      "\xC3\xA9", "\xE4\xBD\xA0", "\xE2\x96\x81", "said", "'s", "\r\n",   "softmax"};
  Rng rng(5, "words");
  for (int round = 0; round < 3000; ++round) {
    std::string text;
    for (uint64_t i = 0, n = rng.Below(20); i < n; ++i) text += parts[rng.Below(parts.size())];
    std::vector<int32_t> expected;
    library.Encode(text, expected);
    EXPECT_EQ(tokenizer->Encode(text), expected) << absl::CHexEscape(text);
  }
}

TEST(Tokenizer, BpeDecodesToTheTextAndCountsItsBytes) {
  const auto tokenizer = Load(kGolden + "small_bpe.json");
  ASSERT_NE(tokenizer, nullptr);
  for (const std::string text : {"The sink 12 \xF0\x9F\x98\x80\n\tx  y", "", "   "}) {
    const std::vector<int32_t> ids = tokenizer->Encode(text);
    EXPECT_EQ(tokenizer->Decode(ids), text);
    EXPECT_EQ(BytesOf(*tokenizer, ids), static_cast<int64_t>(text.size()));
  }
  // Special tokens stand for no text; ids that are not there are passed over.
  EXPECT_EQ(tokenizer->Decode({0, -1, 1 << 30}), "");
  EXPECT_EQ(tokenizer->TokenBytes(0), 0);
  EXPECT_EQ(tokenizer->TokenBytes(-1), 0);
}

TEST(Tokenizer, SentencePieceDecodesToTheTextAndCountsItsBytes) {
  const auto tokenizer = Load(kGolden + "small.model");
  ASSERT_NE(tokenizer, nullptr);
  const std::string text = "The sink 12 \xF0\x9F\x98\x80\n\tx  y";
  const std::vector<int32_t> ids = tokenizer->Encode(text);
  EXPECT_EQ(tokenizer->Decode(ids), text);
  // The space that SentencePiece puts before a text is counted too.
  EXPECT_EQ(BytesOf(*tokenizer, ids), static_cast<int64_t>(text.size()) + 1);
}

TEST(Tokenizer, BytesKeepEveryByte) {
  const auto tokenizer = Load("bytes");
  ASSERT_NE(tokenizer, nullptr);
  std::string text;
  for (int i = 0; i < 256; ++i) text.push_back(static_cast<char>(i));
  const std::vector<int32_t> ids = tokenizer->Encode(text);
  ASSERT_EQ(ids.size(), 256u);
  EXPECT_EQ(ids[200], 200);
  EXPECT_EQ(tokenizer->Decode(ids), text);
  EXPECT_EQ(tokenizer->vocab_size(), 258);
  EXPECT_EQ(tokenizer->bos_id(), 256);
  EXPECT_EQ(tokenizer->eos_id(), 257);
}

TEST(Tokenizer, SavedFilesLoadAsTheSame) {
  for (const std::string& path :
       {kGolden + "small_bpe.json", kGolden + "small.model", std::string("bytes")}) {
    const auto tokenizer = Load(path);
    ASSERT_NE(tokenizer, nullptr);
    const std::string folder = absl::StrCat(::testing::TempDir(), "/attnlab_tokenizer_", getpid());
    std::filesystem::remove_all(folder);
    ASSERT_TRUE(SaveTokenizer(*tokenizer, folder).ok());
    const auto again = Load(folder);
    ASSERT_NE(again, nullptr);
    EXPECT_EQ(again->fingerprint(), tokenizer->fingerprint());
    EXPECT_EQ(again->kind(), tokenizer->kind());
    EXPECT_EQ(again->Encode("the same"), tokenizer->Encode("the same"));
  }
  EXPECT_NE(Load("bytes")->fingerprint(), Load(kGolden + "small.model")->fingerprint());
}

TEST(Tokenizer, ErrorsTellWhatToGive) {
  const std::string folder = absl::StrCat(::testing::TempDir(), "/attnlab_no_tokenizer_", getpid());
  std::filesystem::create_directories(folder);
  const auto message = [](const std::string& path) {
    return std::string(LoadTokenizer(path).status().message());
  };
  EXPECT_THAT(message(folder), HasSubstr("no tokenizer.json, tokenizer.model"));
  EXPECT_THAT(message(folder + "/absent.model"), HasSubstr("absent.model"));
  EXPECT_THAT(message(kGolden + "record.py"), HasSubstr("is no tokenizer"));
  ASSERT_TRUE(WriteFileAtomically(folder + "/broken.model", "\x0a\xff\xff\xff").ok());
  EXPECT_THAT(message(folder + "/broken.model"), HasSubstr("no SentencePiece model"));
}

TEST(Tokenizer, AModelStandsInForAnUnknownJson) {
  const std::string folder = absl::StrCat(::testing::TempDir(), "/attnlab_two_kinds_", getpid());
  std::filesystem::create_directories(folder);
  ASSERT_TRUE(WriteFileAtomically(folder + "/tokenizer.json",
                                  R"({"model": {"type": "BPE", "byte_fallback": true}})")
                  .ok());
  EXPECT_THAT(std::string(LoadTokenizer(folder).status().message()), HasSubstr("byte_fallback"));
  std::filesystem::copy_file(kGolden + "small.model", folder + "/tokenizer.model",
                             std::filesystem::copy_options::overwrite_existing);
  const auto tokenizer = Load(folder);
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_EQ(tokenizer->fingerprint(), Load(kGolden + "small.model")->fingerprint());
  ASSERT_TRUE(WriteFileAtomically(folder + "/tokenizer.model", "\x0a\xff\xff\xff").ok());
  EXPECT_THAT(std::string(LoadTokenizer(folder).status().message()), HasSubstr("byte_fallback"));
}

TEST(Tokenizer, ThreadsShareOne) {
  const auto tokenizer = Load(kGolden + "small_bpe.json");
  ASSERT_NE(tokenizer, nullptr);
  const std::vector<Case> cases = Cases("small_bpe");
  std::vector<int> wrong(4);
  std::vector<std::thread> threads;
  for (int& count : wrong) {
    threads.emplace_back([&] {
      for (int round = 0; round < 50; ++round) {
        for (const Case& c : cases) count += tokenizer->Encode(c.text) != c.ids;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4));
}

TEST(Tokenizer, TrainingIsDeterministicAndMakesTheSize) {
  const auto train = [] {
    Rng rng(3, "corpus");
    int lines = 0;
    return TrainSentencePiece(400, [&rng, &lines](std::string& line) {
      line.clear();
      for (int w = 0; w < 30; ++w) line += rng.Below(4) == 0 ? ' ' : char('a' + rng.Below(12));
      return lines++ < 500;
    });
  };
  const auto first = train(), second = train();
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(*first, *second);
  const auto tokenizer = MakeTokenizer({{"tokenizer.model", *first}});
  ASSERT_TRUE(tokenizer.ok());
  EXPECT_EQ((*tokenizer)->vocab_size(), 400);
  EXPECT_EQ((*tokenizer)->Decode((*tokenizer)->Encode("w12or \xE4\xBD\xA0\n")),
            "w12or \xE4\xBD\xA0\n");
  const auto too_many = TrainSentencePiece(100000, [n = 0](std::string& line) mutable {
    line = "few words";
    return n++ < 3;
  });
  EXPECT_THAT(std::string(too_many.status().message()), HasSubstr("100000"));
}

// The published vocabularies, where they are.
class PublishedTokenizer : public ::testing::TestWithParam<const char*> {};

TEST_P(PublishedTokenizer, AgreesWithItsPeer) {
  const char* data = std::getenv("ATTNLAB_DATA");
  if (data == nullptr) GTEST_SKIP() << "ATTNLAB_DATA names no folder with tokenizers/";
  const auto tokenizer = Load(absl::StrCat(data, "/tokenizers/", GetParam()));
  ASSERT_NE(tokenizer, nullptr);
  ExpectAgreement(*tokenizer, GetParam());
  const std::string text = "Round trip: 3.14 \xF0\x9F\x98\x80\n\n  code();";
  EXPECT_EQ(tokenizer->Decode(tokenizer->Encode(text)), Valid(text));
}

INSTANTIATE_TEST_SUITE_P(Files, PublishedTokenizer, ::testing::Values("gpt2", "gpt-neox", "llama"),
                         [](const auto& info) {
                           return info.param == std::string("gpt-neox") ? "neox"
                                                                        : std::string(info.param);
                         });

}  // namespace
}  // namespace attnlab
