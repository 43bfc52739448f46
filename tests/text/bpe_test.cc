#include "libs/text/bpe.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "libs/core/rng.h"
#include "libs/text/added_tokens.h"
#include "libs/text/split_pattern.h"

namespace attnlab {
namespace {

// The definition, in the plainest words: find the best pair, merge it, look again.
std::vector<int32_t> MergeSlowly(const MergeTable& merges, std::vector<int32_t> ids) {
  for (;;) {
    int32_t best_rank = std::numeric_limits<int32_t>::max(), best_id = -1;
    size_t best = 0;
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      const MergeTable::Merge* merge = merges.Find(ids[i], ids[i + 1]);
      if (merge != nullptr && merge->rank < best_rank) {
        best_rank = merge->rank, best_id = merge->id, best = i;
      }
    }
    if (best_id < 0) return ids;
    ids[best] = best_id;
    ids.erase(ids.begin() + static_cast<int64_t>(best) + 1);
  }
}

TEST(WordMerger, AgreesWithTheDefinition) {
  WordMerger merger;
  for (uint64_t seed = 0; seed < 300; ++seed) {
    Rng rng(seed, "merges");
    // Four letters; each merge joins two symbols that are there and makes a new one.
    MergeTable merges;
    int32_t symbols = 4;
    for (int32_t rank = 0; rank < 20; ++rank, ++symbols) {
      const auto left = static_cast<int32_t>(rng.Below(symbols));
      const auto right = static_cast<int32_t>(rng.Below(symbols));
      merges.Set(left, right, {rank, symbols});
    }
    for (int round = 0; round < 10; ++round) {
      std::vector<int32_t> word(rng.Below(40));
      for (int32_t& id : word) id = static_cast<int32_t>(rng.Below(4));
      const std::vector<int32_t> expected = MergeSlowly(merges, word);
      merger.Run(merges, word);
      EXPECT_EQ(word, expected) << "seed " << seed;
    }
  }
}

TEST(WordMerger, AMillionEqualSymbols) {
  MergeTable merges;
  for (int32_t i = 0; i < 10; ++i) merges.Set(i, i, {i, i + 1});
  std::vector<int32_t> word(1 << 20, 0);
  WordMerger().Run(merges, word);
  EXPECT_EQ(word, std::vector<int32_t>(1 << 10, 10));
}

TEST(WordCache, RemembersAndStartsAnewWhenFull) {
  WordCache cache;
  std::vector<int32_t> ids;
  EXPECT_FALSE(cache.AppendIfKnown("a", ids));
  cache.Remember("a", {1, 2});
  cache.Remember(std::string(1000, 'x'), {3});
  EXPECT_TRUE(cache.AppendIfKnown("a", ids));
  EXPECT_EQ(ids, (std::vector<int32_t>{1, 2}));
  EXPECT_FALSE(cache.AppendIfKnown(std::string(1000, 'x'), ids));
  for (int i = 0; i < 1 << 19; ++i) cache.Remember(std::to_string(i), {i});
  EXPECT_FALSE(cache.AppendIfKnown("a", ids));
  ids.clear();
  EXPECT_TRUE(cache.AppendIfKnown(std::to_string((1 << 19) - 1), ids));
  EXPECT_EQ(ids, (std::vector<int32_t>{(1 << 19) - 1}));
}

std::vector<std::string> Pieces(const SplitPattern& pattern, absl::string_view text) {
  std::vector<std::string> pieces;
  pattern.Split(text, [&](absl::string_view piece) { pieces.emplace_back(piece); });
  return pieces;
}

TEST(SplitPattern, Gpt2) {
  const auto pattern = SplitPattern::Gpt2();
  using Words = std::vector<std::string>;
  EXPECT_EQ(Pieces(*pattern, "It's  12 o'clock!\n\n x"),
            (Words{"It", "'s", " ", " 12", " o", "'", "clock", "!", "\n\n", " x"}));
  EXPECT_EQ(Pieces(*pattern, "a   "), (Words{"a", "   "}));
  EXPECT_EQ(Pieces(*pattern, ""), Words{});
  // U+00A0 is white space, U+180E is not.
  EXPECT_EQ(Pieces(*pattern, "a\xC2\xA0\x62"), (Words{"a", "\xC2\xA0", "b"}));
  EXPECT_EQ(Pieces(*pattern, "!\xE1\xA0\x8E!"), (Words{"!\xE1\xA0\x8E!"}));
}

TEST(SplitPattern, GapsArePiecesAndErrorsNameThePattern) {
  const auto digits = SplitPattern::Compile(R"(\p{N}{1,3})");
  ASSERT_TRUE(digits.ok());
  EXPECT_EQ(Pieces(**digits, "ab1234c"), (std::vector<std::string>{"ab", "123", "4", "c"}));
  const auto broken = SplitPattern::Compile("a(b");
  EXPECT_EQ(broken.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(broken.status().message().find("a(b"), absl::string_view::npos);
}

TEST(AddedTokens, LeftmostThenLongest) {
  AddedTokens tokens;
  tokens.Add("ab", 1);
  tokens.Add("abc", 2);
  tokens.Add("bcd", 3);
  std::vector<std::pair<std::string, int32_t>> parts;
  tokens.Split("xabcdabbcd", [&](absl::string_view part, int32_t id) {
    parts.emplace_back(std::string(part), id);
  });
  EXPECT_EQ(parts, (std::vector<std::pair<std::string, int32_t>>{
                       {"x", -1}, {"abc", 2}, {"d", -1}, {"ab", 1}, {"bcd", 3}}));
}

}  // namespace
}  // namespace attnlab
