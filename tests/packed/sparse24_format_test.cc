// 2:4 matrices: storage without loss, its size, products, and files that lie.

#include "libs/packed/sparse24_format.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/packed/format_list.h"
#include "tests/packed/tensors_in_memory.h"

namespace attnlab {
namespace {

using testing::HasSubstr;

// Two of each four inputs, which two by the values.
at::Tensor Pruned(int64_t rows, int64_t cols, uint64_t seed) {
  const at::Tensor weight = at::randn({rows, cols}, at::detail::createCPUGenerator(seed));
  const at::Tensor fours = weight.unflatten(1, {-1, 4});
  const at::Tensor small = std::get<1>(fours.abs().topk(2, 2, /*largest=*/false));
  return fours.scatter(2, small, 0.0).flatten(1);
}

absl::StatusOr<std::shared_ptr<const StoredMatrix>> Read(TensorsInMemory& tensors, int64_t rows,
                                                         int64_t cols) {
  const Json config = Sparse24Config();
  return ReadSparse24Matrix(tensors, rows, cols, JsonRef(config, "config.json"));
}

TEST(Sparse24, BytesByHand) {
  const at::Tensor weight =
      at::tensor({0.0f, 1.5f, 0.0f, -2.0f, 0.0f, 0.0f, 3.0f, 0.0f}).view({1, 8});
  const auto matrix = StoreSparse24(weight);
  ASSERT_TRUE(matrix.ok()) << matrix.status();
  const auto tensors = (*matrix)->Tensors();
  EXPECT_TRUE(at::equal(tensors[0].second.to(at::kFloat),
                        at::tensor({1.5f, -2.0f, 0.0f, 3.0f}).view({1, 4})));
  EXPECT_EQ(tensors[0].second.scalar_type(), at::kBFloat16);
  // Places 1 and 3: 1 | 3 << 2 = 13; places 0 and 2: 8.
  EXPECT_EQ(tensors[1].second[0][0].item<int>(), 13 | 8 << 4);
}

TEST(Sparse24, NothingIsLostInAnyType) {
  for (const at::ScalarType type : {at::kBFloat16, at::kHalf, at::kFloat}) {
    for (const int64_t cols : {4, 12, 64}) {
      const at::Tensor weight = Pruned(9, cols, 1).to(type).to(at::kFloat);
      const auto matrix = StoreSparse24(weight);
      ASSERT_TRUE(matrix.ok()) << matrix.status();
      EXPECT_EQ((*matrix)->Tensors()[0].second.scalar_type(), type);
      EXPECT_TRUE(at::equal((*matrix)->Dense(at::kFloat), weight));
      TensorsInMemory file(**matrix);
      const auto read = Read(file, 9, cols);
      ASSERT_TRUE(read.ok()) << read.status();
      EXPECT_TRUE(at::equal((*read)->Dense(at::kFloat), weight));
      EXPECT_EQ(file.taken.size(), 2u);
    }
  }
}

TEST(Sparse24, SixteenBitsTakeNineSixteenths) {
  const auto matrix = StoreSparse24(Pruned(32, 64, 2).to(at::kBFloat16).to(at::kFloat));
  EXPECT_EQ((*matrix)->Bytes() * 16, 32 * 64 * 2 * 9);
}

TEST(Sparse24, FewerThanTwoAreFineAndMoreAreNot) {
  at::Tensor weight = at::zeros({2, 8});
  weight[1][6] = 4;
  EXPECT_TRUE(at::equal((*StoreSparse24(weight))->Dense(at::kFloat), weight));
  weight[1][5] = 1;
  weight[1][7] = 1;
  EXPECT_THAT(StoreSparse24(weight).status().message(), HasSubstr("more than two"));
  EXPECT_THAT(StoreSparse24(at::zeros({2, 6})).status().message(), HasSubstr("multiple of 4"));
}

TEST(Sparse24, ProductIsThatOfTheDenseMatrix) {
  const at::Tensor weight = Pruned(16, 32, 3);
  const at::Tensor x = at::randn({2, 3, 32}, at::detail::createCPUGenerator(4));
  EXPECT_TRUE(at::equal((*StoreSparse24(weight))->Product(x), at::linear(x, weight)));
}

TEST(Sparse24, FilesThatLieAreErrors) {
  const auto matrix = StoreSparse24(Pruned(4, 16, 5));
  const auto reject = [&](const std::string& suffix, const at::Tensor& tensor,
                          const std::string& message) {
    TensorsInMemory file(**matrix);
    file.tensors[suffix] = tensor;
    EXPECT_THAT(Read(file, 4, 16).status().message(), HasSubstr(message)) << suffix;
  };
  reject("values", at::zeros({4, 9}), "[4, 8]");
  reject("values", at::zeros({4, 8}, at::kInt), "float16");
  reject("positions", at::zeros({4, 1}, at::kByte), "expected Byte [4, 2]");
  reject("positions", at::zeros({4, 2}, at::kByte), "two different places");
  reject("positions", at::full({4, 2}, 0x11, at::kByte), "two different places");
  TensorsInMemory file(**matrix);
  EXPECT_THAT(Read(file, 4, 18).status().message(), HasSubstr("multiple of 4"));
}

}  // namespace
}  // namespace attnlab
