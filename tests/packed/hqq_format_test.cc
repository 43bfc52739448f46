// The HQQ layout: words by hand, round trips at all widths and odd sizes, and files that lie. What
// the package itself packs is in tests/compress/hqq_test.cc.

#include "libs/packed/hqq_format.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "libs/packed/format_list.h"
#include "tests/packed/tensors_in_memory.h"

namespace attnlab {
namespace {

using testing::HasSubstr;

absl::StatusOr<std::shared_ptr<const StoredMatrix>> Read(TensorsInMemory& tensors, int64_t rows,
                                                         int64_t cols) {
  const Json config = HqqConfig({});
  return ReadHqqMatrix(tensors, rows, cols, JsonRef(config, "config.json"));
}

struct Parts {
  at::Tensor codes, scale, zero;
};

Parts RandomParts(const HqqFormat& format, int64_t rows, int64_t cols,
                  at::ScalarType dtype = at::kFloat) {
  auto generator = at::detail::createCPUGenerator(3);
  const HqqView view = GroupedView(format, rows, cols);
  const std::vector<int64_t> groups =
      format.axis == 1 ? std::vector<int64_t>{view.rows, 1} : std::vector<int64_t>{1, view.cols};
  return {at::randint(0, int64_t{1} << format.bits, {view.rows, view.cols}, generator),
          at::randn(groups, generator).to(dtype), at::randn(groups, generator).to(dtype)};
}

std::shared_ptr<const StoredMatrix> Make(const Parts& parts, const HqqFormat& format, int64_t rows,
                                         int64_t cols) {
  return MakeHqqMatrix(parts.codes, parts.scale, parts.zero, format, rows, cols);
}

// Row r of the view has the code r: rows that share a word lie a whole part apart.
TEST(HqqFormat, WordsByHand) {
  const auto words = [](int64_t bits, int64_t rows) {
    const HqqFormat format = {.bits = bits, .group_size = 8};
    Parts parts = RandomParts(format, rows, 8);
    parts.codes = at::arange(rows).remainder(int64_t{1} << bits).unsqueeze(1).repeat({1, 8});
    return Make(parts, format, rows, 8)->Tensors()[0].second.select(1, 0).clone();
  };
  EXPECT_TRUE(at::equal(words(8, 3), at::tensor({0, 1, 2}, at::kByte)));
  EXPECT_TRUE(at::equal(words(6, 3), at::tensor({0, 1, 2}, at::kByte)));
  EXPECT_TRUE(at::equal(words(5, 3), at::tensor({0, 1, 2}, at::kByte)));
  EXPECT_TRUE(at::equal(words(4, 4), at::tensor({0x02, 0x13}, at::kByte)));
  EXPECT_TRUE(at::equal(words(2, 8), at::tensor({0x22, 0x77}, at::kByte)));  // 0 2 0 2, 1 3 1 3
  EXPECT_TRUE(at::equal(words(1, 16), at::tensor({0x00, 0xff}, at::kByte)));
  // 12 rows in ten parts of two: 0 2 4 6 0 2 and 1 3 5 7 1 3, then nothing.
  const int64_t even = 0 << 27 | 2 << 24 | 4 << 21 | 6 << 18 | 0 << 15 | 2 << 12;
  const int64_t odd = 1 << 27 | 3 << 24 | 5 << 21 | 7 << 18 | 1 << 15 | 3 << 12;
  EXPECT_TRUE(at::equal(words(3, 12), at::tensor({even, odd}, at::kInt)));
}

TEST(HqqFormat, NumbersAreTheirDefinitionAndComeBack) {
  int cases = 0;
  for (const int64_t bits : {8, 6, 5, 4, 3, 2, 1}) {
    for (const int64_t axis : {0, 1}) {
      for (const int64_t group : {0, 8, 24, 64}) {
        for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{64, 24}, {24, 72}, {8, 8}}) {
          const HqqFormat format = {bits, group, axis};
          if (!CheckHqqFormat(format, rows, cols).ok()) continue;
          ++cases;
          const Parts parts = RandomParts(format, rows, cols);
          const auto matrix = Make(parts, format, rows, cols);
          const at::Tensor expected = ((parts.codes.to(at::kFloat) - parts.zero) * parts.scale);
          ASSERT_TRUE(at::equal(matrix->Dense(at::kFloat), expected.view({rows, cols})))
              << bits << " bits, axis " << axis << ", groups of " << group << ": " << rows << " x "
              << cols;
          TensorsInMemory file(*matrix);
          const auto read = Read(file, rows, cols);
          ASSERT_TRUE(read.ok()) << read.status();
          EXPECT_EQ(file.taken.size(), file.tensors.size());
          EXPECT_TRUE(at::equal((*read)->Dense(at::kFloat), matrix->Dense(at::kFloat)));
        }
      }
    }
  }
  EXPECT_GE(cases, 80);
}

// A byte a part, and 100 bytes of marks a matrix.
TEST(HqqFormat, SizesAreAsPromised) {
  const auto bytes = [](int64_t bits, at::ScalarType dtype) {
    const HqqFormat format = {.bits = bits, .group_size = 64};
    return Make(RandomParts(format, 128, 640, dtype), format, 128, 640)->Bytes();
  };
  const int64_t numbers = 128 * 640, groups = numbers / 64;
  for (const int64_t bits : {8, 4, 2, 1}) {
    EXPECT_NEAR(bytes(bits, at::kFloat), numbers * bits / 8 + groups * 8, 100);
    EXPECT_NEAR(bytes(bits, at::kHalf), numbers * bits / 8 + groups * 4, 100);
  }
  EXPECT_NEAR(bytes(3, at::kBFloat16), numbers * 4 / 10 + groups * 4, 100);
  EXPECT_NEAR(bytes(5, at::kFloat), numbers + groups * 8, 100);
}

TEST(HqqFormat, HalfScalesAreReadAsTheyAre) {
  for (const at::ScalarType dtype : {at::kHalf, at::kBFloat16}) {
    const Parts parts = RandomParts({}, 16, 64, dtype);
    TensorsInMemory file(*Make(parts, {}, 16, 64));
    const auto read = Read(file, 16, 64);
    ASSERT_TRUE(read.ok()) << read.status();
    const at::Tensor expected =
        (parts.codes.to(at::kFloat) - parts.zero.to(at::kFloat)) * parts.scale.to(at::kFloat);
    EXPECT_TRUE(at::equal((*read)->Dense(at::kFloat), expected));
  }
}

TEST(HqqFormat, Checks) {
  const auto error = [](const HqqFormat& format, int64_t rows = 64, int64_t cols = 64) {
    return std::string(CheckHqqFormat(format, rows, cols).message());
  };
  EXPECT_EQ(error({}), "");
  EXPECT_EQ(error({.group_size = 48}, 64, 24), "");  // a group may cross rows
  EXPECT_THAT(error({.bits = 7}), HasSubstr("bits = 7"));
  EXPECT_THAT(error({.axis = 2}), HasSubstr("axis = 2"));
  EXPECT_THAT(error({.group_size = -64}), HasSubstr("group_size = -64"));
  EXPECT_THAT(error({.group_size = 4}), HasSubstr("multiple of 8"));
  EXPECT_THAT(error({.group_size = 24}), HasSubstr("does not divide the 64 x 64"));
  EXPECT_THAT(error({.bits = 1, .group_size = 1024}), HasSubstr("has 4 rows of 1-bit codes"));
  EXPECT_THAT(error({.bits = 4, .group_size = 64}, 3, 64), HasSubstr("multiple of 2"));
}

TEST(HqqFormat, FilesThatLie) {
  const auto matrix = Make(RandomParts({}, 16, 64), {}, 16, 64);
  const auto error = [&](const std::string& suffix, const at::Tensor& tensor, int64_t rows = 16,
                         int64_t cols = 64) {
    TensorsInMemory file(*matrix);
    if (!suffix.empty()) file.tensors[suffix] = tensor;
    return std::string(Read(file, rows, cols).status().message());
  };
  const auto integer = [](int64_t value) { return at::scalar_tensor(value, at::kInt); };
  EXPECT_EQ(error("", {}), "");
  EXPECT_THAT(error("", {}, 32, 32), HasSubstr("shape is not 32 x 32"));
  EXPECT_THAT(error("", {}, 17, 64), HasSubstr("17 x 64"));
  EXPECT_THAT(error("nbits", integer(7)), HasSubstr("bits = 7"));
  EXPECT_THAT(error("nbits", integer(8)), HasSubstr("expected Byte [16, 64]"));
  EXPECT_THAT(error("nbits", integer(3)), HasSubstr("expected Int [2, 64]"));
  EXPECT_THAT(error("nbits", at::scalar_tensor(1.58, at::kFloat)), HasSubstr("is Float"));
  EXPECT_THAT(error("nbits", at::tensor({4, 4}, at::kInt)), HasSubstr("expected Int []"));
  EXPECT_THAT(error("axis", integer(-1)), HasSubstr("axis = -1"));
  EXPECT_THAT(error("axis", integer(0)), HasSubstr("W_q"));
  EXPECT_THAT(error("group_size", integer(-2147483648)), HasSubstr("group_size"));
  EXPECT_THAT(error("group_size", integer(40)), HasSubstr("does not divide"));
  EXPECT_THAT(error("group_size", integer(32)), HasSubstr("expected Byte [16, 32]"));
  EXPECT_THAT(error("shape", at::tensor({64, 16}, at::kLong)), HasSubstr("is not 16 x 64"));
  EXPECT_THAT(error("view_as_float", at::scalar_tensor(1, at::kByte)), HasSubstr("not supported"));
  EXPECT_THAT(error("quant_zero", at::scalar_tensor(1, at::kByte)), HasSubstr("not supported"));
  for (const char* suffix : {"scale", "zero"}) {
    const at::Tensor numbers = at::randn({16, 1});
    EXPECT_THAT(error(suffix, numbers.t()), HasSubstr("[16, 1]"));
    EXPECT_THAT(error(suffix, numbers.to(at::kInt)), HasSubstr("must be float32"));
    EXPECT_THAT(error(suffix, numbers / 0.0), HasSubstr("not finite"));
    EXPECT_THAT(error(suffix, numbers.to(at::kHalf)), HasSubstr("another dtype"));
  }
  for (const char* suffix : {"W_q", "scale", "zero", "nbits", "group_size", "axis", "shape"}) {
    TensorsInMemory file(*matrix);
    file.tensors.erase(suffix);
    EXPECT_THAT(Read(file, 16, 64).status().message(), HasSubstr(suffix));
  }
}

// The top bits of a word of 3-bit codes mean nothing.
TEST(HqqFormat, StrayBitsAreIgnored) {
  const HqqFormat format = {.bits = 3};
  const auto matrix = Make(RandomParts(format, 20, 64), format, 20, 64);
  TensorsInMemory file(*matrix);
  file.tensors["W_q"].bitwise_or_(at::scalar_tensor(-1073741824, at::kInt));
  const auto read = Read(file, 20, 64);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_TRUE(at::equal((*read)->Dense(at::kFloat), matrix->Dense(at::kFloat)));
}

}  // namespace
}  // namespace attnlab
