// Calibration text: draws by seed, and what is said of a text that does not suit.

#include "libs/compress/calibration.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "libs/data/token_shards.h"
#include "tests/test_folder.h"

namespace attnlab {
namespace {

using testing::HasSubstr;

// A folder as `prepare` writes it: `tokens` tokens 0, 1, 2, ... modulo 50, and as many held out.
void WriteCounting(const std::string& folder, int64_t tokens) {
  std::filesystem::create_directories(folder);
  std::vector<int32_t> ids(tokens);
  for (int64_t i = 0; i < tokens; ++i) ids[i] = static_cast<int32_t>(i % 50);
  for (const char* part : {"/train", "/validation"}) {
    auto writer = TokenShardWriter::Create(folder + part, {50, -1, -1, "../tokenizer", "f00d"}, 64);
    ASSERT_TRUE(writer.ok()) << writer.status();
    ASSERT_TRUE((*writer)->AddDocument(ids, 3 * tokens).ok());
    ASSERT_TRUE((*writer)->Finish().ok());
  }
}

std::string Problem(const CalibrationOptions& options, int64_t vocab_size = 50) {
  return std::string(DrawCalibration(options, DataOptions(), vocab_size).status().message());
}

TEST(Calibration, ASeedIsADraw) {
  const TestFolder folder;
  const std::string text = folder / "text";
  WriteCounting(text, 200);
  const auto draw = [&](int64_t seed) {
    return DrawCalibration({text, 6, 8, seed}, DataOptions(), 50).value().tokens;
  };
  const at::Tensor first = draw(1);
  EXPECT_EQ(first.sizes(), (std::vector<int64_t>{6, 8}));
  EXPECT_TRUE(first.equal(draw(1)));
  EXPECT_FALSE(first.equal(draw(2)));
  for (int64_t i = 0; i < 6; ++i) {
    EXPECT_EQ((first[i][7].item<int64_t>() - first[i][0].item<int64_t>() + 50) % 50, 7);
  }
}

TEST(Calibration, WhatIsWrongIsSaid) {
  const TestFolder folder;
  const std::string text = folder / "text";
  WriteCounting(text, 200);
  EXPECT_EQ(Problem({text, 24, 8, 0}), "");
  EXPECT_THAT(Problem({text, 26, 8, 0}), HasSubstr("fewer than 26 sequences of 8"));
  EXPECT_THAT(Problem({text, 4, 8, 0}, 40),
              HasSubstr("50 kinds of tokens, but the model knows 40"));
  EXPECT_THAT(Problem({text, 0, 8, 0}), HasSubstr("0 sequences"));
  EXPECT_THAT(Problem({text, 4, -8, 0}), HasSubstr("sequences of -8 tokens"));
  EXPECT_THAT(Problem({folder / "none", 4, 8, 0}), HasSubstr("/none"));
}

}  // namespace
}  // namespace attnlab
