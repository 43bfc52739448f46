#include "libs/text/utf8.h"

#include <gtest/gtest.h>
#include <utf8proc.h>

#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "libs/core/rng.h"

namespace attnlab {
namespace {

std::string Replaced(absl::string_view text) {
  std::string storage;
  return std::string(ReplaceInvalidUtf8(text, storage));
}

std::string Nfc(absl::string_view text) {
  std::string storage;
  return std::string(NormalizeNfc(text, storage));
}

// U+FFFD written as '?', so that the cases stay readable.
std::string Marked(absl::string_view text) {
  std::string out = Replaced(text);
  for (size_t at; (at = out.find("\xEF\xBF\xBD")) != std::string::npos;) out.replace(at, 3, "?");
  return out;
}

TEST(Utf8, ReplacesMaximalSubparts) {
  // Tables 3-8 to 3-11 of the Unicode Standard 15.
  EXPECT_EQ(Marked("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41"), "????????A");
  EXPECT_EQ(Marked("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41"), "????????A");
  EXPECT_EQ(Marked("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42"), "?????A??B");
  EXPECT_EQ(Marked("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41"), "????A");
}

TEST(Utf8, ReplacesWhatIsCutAtTheEnd) {
  EXPECT_EQ(Marked("ab\xE2\x82"), "ab?");
  EXPECT_EQ(Marked("ab\xF0\x9F\x98"), "ab?");
  EXPECT_EQ(Marked("\xC3"), "?");
}

TEST(Utf8, EveryCodePointIsValidAndSurrogatesAreNot) {
  for (int32_t code = 0; code <= 0x10FFFF; code += code < 0x3000 ? 1 : 17) {
    utf8proc_uint8_t buffer[4];
    const int length = static_cast<int>(utf8proc_encode_char(code, buffer));
    const absl::string_view text(reinterpret_cast<char*>(buffer), length);
    if (code >= 0xD800 && code < 0xE000) {
      EXPECT_FALSE(IsValidUtf8(text)) << code;
      continue;
    }
    const DecodedChar decoded = DecodeUtf8(text);
    EXPECT_TRUE(decoded.valid && IsValidUtf8(text)) << code;
    EXPECT_EQ(static_cast<int32_t>(decoded.code), code);
    EXPECT_EQ(decoded.length, length);
  }
}

TEST(Utf8, ValidTextIsNotCopied) {
  const std::string text = "plain text, na\xC3\xAFve, \xF0\x9F\x98\x80";
  std::string storage;
  EXPECT_EQ(ReplaceInvalidUtf8(text, storage).data(), text.data());
  EXPECT_EQ(NormalizeNfc("plain text", storage), "plain text");
}

TEST(Utf8, NormalizationFormC) {
  // From the conformance notes of Unicode Standard Annex 15.
  EXPECT_EQ(Nfc("e\xCC\x81"), "\xC3\xA9");                   // e + acute
  EXPECT_EQ(Nfc("\xE2\x84\xAB"), "\xC3\x85");                // Angstrom sign
  EXPECT_EQ(Nfc("q\xCC\x87\xCC\xA3"), "q\xCC\xA3\xCC\x87");  // marks in canonical order
  EXPECT_EQ(Nfc("\xE1\x84\x92\xE1\x85\xA1\xE1\x86\xAB"), "\xED\x95\x9C");  // Hangul
  EXPECT_EQ(Nfc("\xE0\xA5\x98"), "\xE0\xA4\x95\xE0\xA4\xBC");  // excluded from composition
  EXPECT_EQ(Nfc("\xEF\xAC\x81"), "\xEF\xAC\x81");              // compatibility: kept
  EXPECT_EQ(Nfc("\xC3\xA9\xE2\x80\x99 e\xCC\x81x"), "\xC3\xA9\xE2\x80\x99 \xC3\xA9x");
}

// The parts that NormalizeNfc leaves alone or normalizes apart join to what the whole text gives.
TEST(Utf8, NormalizationInPartsEqualsTheWhole) {
  const std::vector<std::pair<int32_t, int32_t>> ranges = {
      {0x20, 0x7E},     {0xA0, 0x2FF},    {0x300, 0x36F},   {0x1100, 0x11FF}, {0x900, 0x97F},
      {0x1E00, 0x1FFF}, {0x2000, 0x212F}, {0x2200, 0x22FF}, {0xF900, 0xFAFF}, {0xAC00, 0xD7A3}};
  Rng rng(1, "nfc");
  for (int round = 0; round < 3000; ++round) {
    std::string text;
    for (uint64_t i = 0, n = 1 + rng.Below(24); i < n; ++i) {
      const auto [low, high] = ranges[rng.Below(ranges.size())];
      utf8proc_uint8_t buffer[4];
      const auto code = static_cast<int32_t>(low + rng.Below(high - low + 1));
      text.append(reinterpret_cast<char*>(buffer), utf8proc_encode_char(code, buffer));
    }
    utf8proc_uint8_t* whole = utf8proc_NFC(reinterpret_cast<const utf8proc_uint8_t*>(text.c_str()));
    EXPECT_EQ(Nfc(text), reinterpret_cast<char*>(whole)) << absl::BytesToHexString(text);
    std::free(whole);
  }
}

}  // namespace
}  // namespace attnlab
