#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "libs/core/files.h"
#include "libs/text/byte_level_bpe.h"

namespace attnlab {
namespace {

using ::testing::HasSubstr;

std::string SmallJson() {
  return *ReadFile(ATTNLAB_SOURCE_DIR "/tests/golden/tokenizers/small_bpe.json");
}

// The error of the small tokenizer.json after `from` was replaced by `to`.
absl::Status ErrorAfter(const std::string& from, const std::string& to) {
  const std::string original = SmallJson();
  const std::string changed = absl::StrReplaceAll(original, {{from, to}});
  EXPECT_NE(original, changed) << from;
  const auto vocabulary = ParseTokenizerJson(changed);
  if (!vocabulary.ok()) return vocabulary.status();
  return MakeByteLevelBpe(*vocabulary, {{"tokenizer.json", changed}}).status();
}

TEST(BpeFiles, WhatIsNotSupportedIsNamed) {
  const auto message = [](const char* from, const char* to) {
    return std::string(ErrorAfter(from, to).message());
  };
  EXPECT_THAT(message(R"("type":"BPE")", R"("type":"Unigram")"), HasSubstr("model Unigram"));
  EXPECT_THAT(message(R"("type":"NFC")", R"("type":"NFKC")"), HasSubstr("normalizer NFKC"));
  EXPECT_THAT(message(R"("byte_fallback":false)", R"("byte_fallback":true)"),
              HasSubstr("byte_fallback"));
  EXPECT_THAT(
      message(R"("pre_tokenizer":{"type":"ByteLevel")", R"("pre_tokenizer":{"type":"Metaspace")"),
      HasSubstr("Metaspace"));
  EXPECT_THAT(message(R"("lstrip":false)", R"("lstrip":true)"), HasSubstr("lstrip"));
}

TEST(BpeFiles, BrokenVocabulariesAreErrors) {
  const auto message = [](const char* from, const char* to) {
    return std::string(ErrorAfter(from, to).message());
  };
  EXPECT_THAT(message(R"("!":2)", R"("!":-2)"), HasSubstr("model.vocab.!"));
  EXPECT_THAT(message(R"("!":2)", R"("!":1.5)"), HasSubstr("expected an integer"));
  EXPECT_THAT(message(R"("!":2)", R"("!":3)"), HasSubstr("two tokens"));
  EXPECT_THAT(message(R"("!":2)", R"("!":2000000000)"), HasSubstr("2000000000"));
  EXPECT_THAT(message(R"("!":2,)", ""), HasSubstr("byte 33"));
  EXPECT_THAT(message(R"("merges":[)", R"("merges":["q zz",)"), HasSubstr("merge 0"));
  EXPECT_THAT(message(R"("merges":[)", R"("merges":["qzz",)"), HasSubstr("two tokens"));
  EXPECT_THAT(std::string(ParseTokenizerJson("{\"model\": ").status().message()),
              HasSubstr("tokenizer.json: line 1"));
  EXPECT_THAT(std::string(ParseTokenizerJson("{}").status().message()), HasSubstr("model.vocab"));
}

TEST(BpeFiles, MergesTxtErrorsNameTheLine) {
  const auto vocabulary = ParseVocabAndMerges("{\"a\":0,\"b\":1}", "#version: 0.2\na b\nab\n");
  EXPECT_THAT(std::string(vocabulary.status().message()), HasSubstr("merges.txt:3"));
}

// A Llama-3-like file: a Split pattern before ByteLevel, merges as pairs, whole words first.
TEST(BpeFiles, SplitPatternPairsAndIgnoreMerges) {
  std::string json = absl::StrReplaceAll(
      SmallJson(),
      {{R"("pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,)"
        R"("use_regex":true})",
        R"("pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":)"
        R"({"Regex":"\\p{N}{1,2}| ?\\p{L}+"},"behavior":"Isolated","invert":false},)"
        R"({"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]})"},
       {R"("ignore_merges":false)", R"("ignore_merges":true)"}});
  const auto vocabulary = ParseTokenizerJson(json);
  ASSERT_TRUE(vocabulary.ok()) << vocabulary.status();
  EXPECT_EQ(vocabulary->split_patterns, std::vector<std::string>{R"(\p{N}{1,2}| ?\p{L}+)"});
  EXPECT_TRUE(vocabulary->ignore_merges);
  const auto tokenizer = MakeByteLevelBpe(*vocabulary, {{"tokenizer.json", json}});
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  const std::string text = "the 12345 words; ";
  EXPECT_EQ((*tokenizer)->Decode((*tokenizer)->Encode(text)), text);
}

}  // namespace
}  // namespace attnlab
