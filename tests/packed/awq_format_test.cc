// The AWQ layout: words by hand, what GPTQModel packs and unpacks, round trips, and files that lie.

#include "libs/packed/awq_format.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <tuple>

#include "libs/packed/format_list.h"
#include "tests/packed/recorded.h"
#include "tests/packed/tensors_in_memory.h"

namespace attnlab {
namespace {

using testing::HasSubstr;

absl::StatusOr<std::shared_ptr<const StoredMatrix>> Read(TensorsInMemory& tensors, int64_t rows,
                                                         int64_t cols, const Json& config) {
  return ReadAwqMatrix(tensors, rows, cols, JsonRef(config, "config.json"));
}

struct Parts {
  at::Tensor codes, scales, zeros;
};

Parts RandomParts(int64_t rows, int64_t cols, int64_t groups) {
  auto generator = at::detail::createCPUGenerator(7);
  return {at::randint(0, 16, {rows, cols}, generator), at::rand({rows, groups}, generator) + 0.01,
          at::randint(0, 16, {rows, groups}, generator)};
}

// Output 2 lies in the second nibble, 4 in the third, ...: the words of outputs whose code is their
// own number.
TEST(AwqFormat, WordsByHand) {
  const at::Tensor codes = at::arange(16).unsqueeze(1).repeat({1, 2});  // [16, 2]
  const at::Tensor ones = at::rand({16, 1}).fill_(1);
  const auto tensors = MakeAwqMatrix(codes, ones, ones * 5).value()->Tensors();
  ASSERT_EQ(tensors[0].first, "qweight");
  ASSERT_EQ(tensors[0].second.sizes(), at::IntArrayRef({2, 2}));
  for (int64_t input = 0; input < 2; ++input) {
    EXPECT_EQ(static_cast<uint32_t>(tensors[0].second[input][0].item<int32_t>()), 0x75316420u);
    EXPECT_EQ(static_cast<uint32_t>(tensors[0].second[input][1].item<int32_t>()), 0xfdb9eca8u);
  }
  EXPECT_EQ(tensors[1].second[0][1].item<int32_t>(), 0x55555555);
}

TEST(AwqFormat, TensorsAndNumbersAreThoseOfGptqModel) {
  const TensorMap expected = WithPrefix(ReadRecord("gptq", "ATTNLAB_GPTQ"), "awq.");
  ASSERT_FALSE(expected.empty());
  const auto matrix =
      MakeAwqMatrix(expected.at("codes"), expected.at("scales_in"), expected.at("zeros_in"))
          .value();
  for (const auto& [suffix, tensor] : matrix->Tensors()) {
    EXPECT_TRUE(at::equal(tensor, expected.at(suffix))) << suffix;
  }
  EXPECT_TRUE(at::equal(matrix->Dense(at::kHalf), expected.at("dense")));
}

TEST(AwqFormat, ChecksNameWhatIsWrong) {
  EXPECT_TRUE(CheckAwqFormat(4, 0, 8, 5).ok());
  EXPECT_THAT(CheckAwqFormat(3, 32, 64, 64).message(), HasSubstr("bits = 3"));
  EXPECT_THAT(CheckAwqFormat(4, -8, 64, 64).message(), HasSubstr("group_size = -8"));
  EXPECT_THAT(CheckAwqFormat(4, 48, 64, 64).message(), HasSubstr("does not divide the 64 inputs"));
  EXPECT_THAT(CheckAwqFormat(4, 32, 12, 64).message(), HasSubstr("12 outputs"));
}

TEST(AwqFormat, NumbersAreTheirDefinition) {
  for (const auto& [rows, cols, groups] :
       {std::tuple<int64_t, int64_t, int64_t>{8, 6, 3}, {24, 10, 1}, {64, 96, 96}, {40, 56, 7}}) {
    const Parts parts = RandomParts(rows, cols, groups);
    const auto matrix = MakeAwqMatrix(parts.codes, parts.scales, parts.zeros).value();
    const at::Tensor scales = parts.scales.to(at::kHalf).to(at::kDouble);
    const at::Tensor expected = (parts.codes.to(at::kDouble).view({rows, groups, -1}) -
                                 parts.zeros.unsqueeze(2).to(at::kDouble)) *
                                scales.unsqueeze(2);
    EXPECT_TRUE(at::equal(matrix->Dense(at::kDouble), expected.view({rows, cols}))) << rows;
    EXPECT_EQ(matrix->Bytes(), rows * cols / 2 + rows * groups / 2 + rows * groups * 2);
  }
}

TEST(AwqFormat, RoundTrip) {
  for (const int64_t groups : {1, 4}) {
    const Parts parts = RandomParts(16, 32, groups);
    const auto matrix = MakeAwqMatrix(parts.codes, parts.scales, parts.zeros).value();
    TensorsInMemory file(*matrix);
    const auto read = Read(file, 16, 32, AwqConfig(groups == 1 ? 0 : 8));
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(file.taken.size(), 3u);
    EXPECT_TRUE(at::equal((*read)->Dense(at::kFloat), matrix->Dense(at::kFloat)));
  }
}

TEST(AwqFormat, ScalesBeyondFloat16AreErrors) {
  const Parts parts = RandomParts(16, 32, 4);
  parts.scales[1][2] = 7e4;
  EXPECT_THAT(MakeAwqMatrix(parts.codes, parts.scales, parts.zeros).status().message(),
              testing::AllOf(HasSubstr("70000"), HasSubstr("float16")));
}

TEST(AwqFormat, FilesThatLie) {
  const Parts parts = RandomParts(16, 32, 4);
  const auto matrix = MakeAwqMatrix(parts.codes, parts.scales, parts.zeros).value();
  const Json config = AwqConfig(8);
  const auto error = [&](const Json& config, int64_t rows = 16, int64_t cols = 32) {
    TensorsInMemory file(*matrix);
    return std::string(Read(file, rows, cols, config).status().message());
  };
  EXPECT_EQ(error(config), "");
  EXPECT_EQ(error(Json(config).Set("version", "GEMM")), "");
  EXPECT_THAT(error(Json(config).Set("version", "gemv")), HasSubstr("not gemm"));
  EXPECT_THAT(error(Json(config).Set("version", Json()).Set("format", "marlin")),
              HasSubstr("not gemm"));
  EXPECT_THAT(error(Json(config).Set("bits", 8)), HasSubstr("bits = 8"));
  EXPECT_THAT(error(Json(config).Set("bits", "4")), HasSubstr("integer"));
  EXPECT_THAT(error(Json(config).Set("group_size", 0)), HasSubstr("must not be 0"));
  EXPECT_THAT(error(Json(config).Set("group_size", -8)), HasSubstr("does not divide"));
  EXPECT_THAT(error(Json(config).Set("group_size", 12)), HasSubstr("does not divide the 32"));
  EXPECT_THAT(error(Json(config).Set("group_size", 16)), HasSubstr("expected Int [2, 2]"));
  EXPECT_THAT(error(config, 12, 32), HasSubstr("12 outputs"));
  EXPECT_THAT(error(config, 24, 32), HasSubstr("expected Int [32, 3]"));

  for (const char* suffix : {"qweight", "qzeros", "scales"}) {
    TensorsInMemory missing(*matrix);
    missing.tensors.erase(suffix);
    EXPECT_THAT(Read(missing, 16, 32, config).status().message(), HasSubstr(suffix));
    TensorsInMemory doubles(*matrix);
    doubles.tensors[suffix] = doubles.tensors[suffix].to(at::kDouble);
    EXPECT_THAT(Read(doubles, 16, 32, config).status().message(), HasSubstr("is Double"));
  }
  TensorsInMemory infinite(*matrix);
  infinite.tensors["scales"][1][2] = INFINITY;
  EXPECT_THAT(Read(infinite, 16, 32, config).status().message(), HasSubstr("not finite"));
}

}  // namespace
}  // namespace attnlab
