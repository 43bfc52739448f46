// The text of tasks: Python's whitespace, WikiText's pages and detokeniser, rolling windows, pairs
// of context and continuation. Golden values from lm-evaluation-harness 0.4.9.1 (lantern.json).
#include <cstdlib>
#include <memory>
#include <string>

#include "absl/strings/str_join.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "libs/core/files.h"
#include "libs/eval/harness.h"
#include "libs/eval/python_text.h"
#include "libs/eval/wikitext_text.h"
#include "libs/io/json.h"
#include "libs/text/tokenizer.h"

namespace attnlab {
namespace {

using testing::ElementsAre;

const char kGolden[] = ATTNLAB_SOURCE_DIR "/tests/golden/eval/";

TEST(PythonText, Whitespace) {
  EXPECT_EQ(python::Strip(" \t\n\u00a0x y\u3000\x1c"), "x y");
  EXPECT_EQ(python::Strip("\u200b"), "\u200b");  // zero width space is none
  EXPECT_EQ(python::LStrip(" \xff "), "\xff ");
  EXPECT_EQ(python::RStrip("a\xa0"), "a\xa0");  // a stray byte is no NBSP
  EXPECT_EQ(python::Strip(" \u2003 "), "");
}

TEST(PythonText, SplitCountsEmptyEnds) {
  EXPECT_EQ(python::SplitCount(""), 1);
  EXPECT_EQ(python::SplitCount("a"), 1);
  EXPECT_EQ(python::SplitCount(" a\n\nb\u00a0c "), 5);
}

TEST(PythonText, LengthInCodePoints) {
  EXPECT_EQ(python::Length("na\u00efve \U0001F600"), 7);
  EXPECT_EQ(python::Length("\xff\xfe"), 2);
}

TEST(Wikitext, PagesAgreeWithTheHarness) {
  const std::string raw = ReadFile(std::string(kGolden) + "lantern.raw").value();
  const Json golden = Json::ParseFile(std::string(kGolden) + "lantern.json").value();
  const std::vector<JsonRef> pages = JsonRef(golden)["pages"].Elements().value();
  const std::vector<std::string> ours = WikitextPages(raw);
  ASSERT_EQ(ours.size(), pages.size());
  for (size_t i = 0; i < pages.size(); ++i) {
    EXPECT_EQ(python::SplitCount(ours[i]), pages[i]["words"].Integer().value());
    EXPECT_EQ(static_cast<int64_t>(ours[i].size()), pages[i]["bytes"].Integer().value());
    EXPECT_EQ(WikitextDetokenize(ours[i]), pages[i]["detokenized"].String().value());
  }
}

TEST(Wikitext, SlashedQuotesBecomeTheHarnesssLiteral) {
  EXPECT_EQ(WikitextDetokenize("a /' 7/ b"), "a /'[0-9]/ b");
}

TEST(Wikitext, UnclosedBracketsStay) {
  EXPECT_EQ(WikitextDetokenize("a ( b [ c ]"), "a ( b [c]");
  EXPECT_EQ(WikitextDetokenize("( a ( b ) )"), "(a ( b) )");
}

std::string HashOf(const std::string& text) {
  Sha256 hash;
  hash.Update({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
  return hash.Hex();
}

TEST(Wikitext, ConstantsOfTheTestFile) {
  const char* data = std::getenv("ATTNLAB_DATA");
  if (data == nullptr) GTEST_SKIP() << "ATTNLAB_DATA names no folder with eval/wiki.test.raw";
  const std::string raw = ReadFile(std::string(data) + "/eval/wiki.test.raw").value();
  const std::vector<std::string> pages = WikitextPages(raw);
  ASSERT_EQ(pages.size(), 62u);
  int64_t words = 0;
  size_t bytes = 0, detokenized_bytes = 0;
  std::vector<std::string> detokenized;
  for (const std::string& page : pages) {
    words += python::SplitCount(page);
    bytes += page.size();
    detokenized.push_back(WikitextDetokenize(page));
    detokenized_bytes += detokenized.back().size();
  }
  EXPECT_EQ(words, 241335);
  EXPECT_EQ(bytes, 1290527u);
  EXPECT_EQ(detokenized_bytes, 1240466u);
  EXPECT_EQ(HashOf(absl::StrJoin(detokenized, absl::string_view("\0", 1))),
            "b0ae50e166add20959a5406d9b3c99fe1f23819ec0a10149047149434fb85d81");
  const std::string joined = WikitextJoined(raw);
  EXPECT_EQ(joined.size(), 1296370u);
  EXPECT_EQ(HashOf(joined), "696cca6b65a171b0a358a4be6732cdfdf2dd6164a32e20fd70e3c13fc4dfae83");
}

std::vector<int64_t> Wide(const std::vector<int32_t>& ids) { return {ids.begin(), ids.end()}; }

TEST(RollingRequests, AgreeWithTheHarness) {
  const Json golden = Json::ParseFile(std::string(kGolden) + "lantern.json").value();
  const std::vector<JsonRef> windows = JsonRef(golden)["windows"].Elements().value();
  for (const JsonRef& window : windows) {
    std::vector<int32_t> tokens;
    const int64_t count = window["tokens"].Integer().value();
    for (int32_t i = 1; i <= count; ++i) tokens.push_back(i);
    const auto ours = RollingRequests(tokens, 0, window["max_length"].Integer().value());
    const std::vector<JsonRef> requests = window["requests"].Elements().value();
    ASSERT_EQ(ours.size(), requests.size()) << count;
    for (size_t i = 0; i < ours.size(); ++i) {
      EXPECT_EQ(Wide(ours[i].context), requests[i][0].Integers().value());
      EXPECT_EQ(Wide(ours[i].continuation), requests[i][1].Integers().value());
    }
  }
  EXPECT_TRUE(RollingRequests({}, 0, 4).empty());
}

TEST(HarnessEncoder, WhitespaceMovesToTheContinuation) {
  const std::unique_ptr<Tokenizer> bytes = LoadTokenizer("bytes").value();
  const HarnessEncoder encoder(*bytes, kHarnessPlain);
  const auto [context, continuation] = encoder.EncodePair("ab \n", "c");
  EXPECT_THAT(context, ElementsAre('a', 'b'));
  EXPECT_THAT(continuation, ElementsAre(' ', '\n', 'c'));
  const auto [prefix, whole] = encoder.EncodePair("", "hi");
  EXPECT_THAT(prefix, ElementsAre(256));
  EXPECT_THAT(whole, ElementsAre('h', 'i'));
  EXPECT_FALSE(encoder.adds_bos());
}

TEST(HarnessEncoder, UnknownVersionNamesTheKnownOnes) {
  EXPECT_TRUE(ValidateHarness("0.4.9.1").ok());
  EXPECT_TRUE(ValidateHarness("0.4.9.2").ok());
  EXPECT_THAT(std::string(ValidateHarness("1").message()), testing::HasSubstr("0.4.9.2"));
}

}  // namespace
}  // namespace attnlab
