// Packing of codes into words against a bit string written out, at every width.

#include "libs/packed/bits.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <string>

namespace attnlab {
namespace {

at::Tensor RandomCodes(int64_t rows, int64_t width, int64_t bits) {
  return at::randint(0, int64_t{1} << bits, {rows, width}, at::detail::createCPUGenerator(bits),
                     at::TensorOptions(at::kByte));
}

// The bits of column `m`, the first code's lowest first.
std::string BitsOfCodes(const at::Tensor& codes, int64_t m, int64_t bits) {
  std::string text;
  for (int64_t row = 0; row < codes.size(0); ++row) {
    const int code = codes[row][m].item<int>();
    for (int64_t bit = 0; bit < bits; ++bit) text += (code >> bit & 1) != 0 ? '1' : '0';
  }
  return text;
}

std::string BitsOfWords(const at::Tensor& words, int64_t m) {
  std::string text;
  for (int64_t row = 0; row < words.size(0); ++row) {
    const auto word = static_cast<uint32_t>(words[row][m].item<int32_t>());
    for (int bit = 0; bit < 32; ++bit) text += (word >> bit & 1) != 0 ? '1' : '0';
  }
  return text;
}

TEST(Bits, WordsHoldTheBitsInOrder) {
  for (int64_t bits = 1; bits <= 8; ++bits) {
    for (const int64_t width : {1, 7}) {
      const at::Tensor codes = RandomCodes(96, width, bits);
      const at::Tensor words = PackRows(codes, bits);
      ASSERT_EQ(words.sizes(), at::IntArrayRef({3 * bits, width}));
      ASSERT_EQ(words.scalar_type(), at::kInt);
      for (int64_t m = 0; m < width; ++m) {
        EXPECT_EQ(BitsOfWords(words, m), BitsOfCodes(codes, m, bits)) << bits << " bits";
      }
    }
  }
}

TEST(Bits, CodesComeBack) {
  for (int64_t bits = 1; bits <= 8; ++bits) {
    for (const int64_t words : {1, 2, 3, 5, 24}) {
      if (words * 32 % bits != 0) continue;
      for (const int64_t width : {1, 3, 64}) {
        const at::Tensor codes = RandomCodes(words * 32 / bits, width, bits);
        EXPECT_TRUE(at::equal(UnpackRows(PackRows(codes, bits), bits), codes))
            << bits << " bits, " << words << " words, width " << width;
        const at::Tensor all = at::full_like(codes, (1 << bits) - 1);
        EXPECT_TRUE(PackRows(all, bits).eq(-1).all().item<bool>());
      }
    }
  }
}

TEST(Bits, StridedAndFloatingCodesPackAlike) {
  const at::Tensor codes = RandomCodes(64, 5, 3);
  const at::Tensor words = PackRows(codes.slice(0, 0, 32), 3);
  EXPECT_TRUE(at::equal(PackRows(codes.t().contiguous().t().slice(0, 0, 32), 3), words));
  EXPECT_TRUE(at::equal(PackRows(codes.slice(0, 0, 32).to(at::kFloat), 3), words));
  EXPECT_TRUE(at::equal(UnpackRows(words.t().contiguous().t(), 3), codes.slice(0, 0, 32)));
}

TEST(Bits, KnownWords) {
  const at::Tensor nibbles = at::tensor({1, 2, 3, 4, 5, 6, 7, 15}, at::kByte).unsqueeze(1);
  EXPECT_EQ(PackRows(nibbles, 4)[0][0].item<int32_t>(), static_cast<int32_t>(0xf7654321u));
  // The 11th 3-bit code gives two bits to the first word and one to the second.
  at::Tensor split = at::full({32, 1}, 0, at::kByte);
  split[10][0] = 7;
  split[21][0] = 7;
  const at::Tensor words = PackRows(split, 3);
  EXPECT_EQ(words[0][0].item<int32_t>(), static_cast<int32_t>(0xc0000000u));
  EXPECT_EQ(words[1][0].item<int32_t>(), static_cast<int32_t>(0x80000001u));
  EXPECT_EQ(words[2][0].item<int32_t>(), 3);
}

}  // namespace
}  // namespace attnlab
