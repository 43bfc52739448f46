// Packed matrices on a CUDA device: the numbers and products of the CPU.

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include "libs/packed/awq_format.h"
#include "libs/packed/bitsandbytes_format.h"
#include "libs/packed/gptq_format.h"
#include "libs/packed/int_format.h"
#include "libs/packed/int_product.h"
#include "libs/packed/sparse24_format.h"

namespace attnlab {
namespace {

class PackedOnGpu : public testing::Test {
 protected:
  void SetUp() override {
    if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  }
};

at::Tensor Normal(at::IntArrayRef shape, uint64_t seed) {
  return at::randn(shape, at::detail::createCPUGenerator(seed));
}

TEST_F(PackedOnGpu, IntegerProductIsExact) {
  for (const int64_t rows : {1, 16, 17, 100}) {
    for (const int64_t k : {12, 64, 1408, 4096}) {
      const at::Tensor a = at::randint(-127, 128, {rows, k}, at::kChar);
      const at::Tensor b = at::randint(-127, 128, {48, k}, at::kChar);
      EXPECT_TRUE(at::equal(IntegerProduct(a.cuda(), b.cuda()).cpu(), IntegerProductByFloats(a, b)))
          << rows << " x " << k;
    }
  }
}

TEST_F(PackedOnGpu, NumbersOfGroupGridsAreThoseOfTheCpu) {
  const int64_t rows = 96, cols = 256, groups = 4;
  const auto generator = at::detail::createCPUGenerator(3);
  const auto integers = [&](int64_t low, int64_t high, at::IntArrayRef shape) {
    return at::randint(low, high, shape, generator, at::TensorOptions(at::kInt));
  };
  const at::Tensor scales = at::rand({rows, groups}, generator) * 0.01 + 1e-3;
  const at::Tensor group_index = integers(0, groups, {cols});
  std::vector<std::shared_ptr<const StoredMatrix>> matrices = {
      MakeAwqMatrix(integers(0, 16, {rows, cols}), scales, integers(0, 16, {rows, groups}))
          .value()};
  for (const int64_t bits : {2, 3, 4, 8}) {
    matrices.push_back(MakeGptqMatrix(integers(0, 1 << bits, {rows, cols}), scales,
                                      integers(1, 1 << bits, {rows, groups}), group_index,
                                      {.bits = bits})
                           .value());
  }
  for (size_t i = 0; i < matrices.size(); ++i) {
    const auto there = matrices[i]->To(at::kCUDA);
    for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
      EXPECT_TRUE(at::equal(there->Dense(type).cpu(), matrices[i]->Dense(type))) << i;
    }
  }
}

TEST_F(PackedOnGpu, NumbersAndProductsAreThoseOfTheCpu) {
  const at::Tensor weight = Normal({96, 176}, 1), x = Normal({30, 176}, 2) * 2;
  const std::vector<std::shared_ptr<const StoredMatrix>> matrices = {
      QuantizeFourBit(weight, {FourBitType::kNf4, 64, true}),
      QuantizeFourBit(weight, {FourBitType::kFp4, 32, false}),
      QuantizeLlmInt8(weight, 6.0),
      QuantizeInt(weight, {8, 8}),
      QuantizeInt(weight, {4, 8}),
  };
  for (size_t i = 0; i < matrices.size(); ++i) {
    const auto there = matrices[i]->To(at::kCUDA);
    EXPECT_TRUE(at::equal(there->Dense(at::kFloat).cpu(), matrices[i]->Dense(at::kFloat))) << i;
    const at::Tensor expected = matrices[i]->Product(x);
    // An activation on the boundary of two codes may fall to the other side.
    const at::Tensor error = (there->Product(x.cuda()).cpu() - expected).abs();
    EXPECT_LT(error.mean().item<double>(), 1e-3 * expected.abs().mean().item<double>()) << i;
  }
}

TEST_F(PackedOnGpu, QuantizingThereGivesTheSameCodes) {
  const at::Tensor weight = Normal({64, 128}, 3);
  for (const bool nested : {false, true}) {
    const FourBitOptions options = {FourBitType::kNf4, 64, nested};
    EXPECT_TRUE(at::equal(QuantizeFourBit(weight.cuda(), options)->Tensors()[0].second.cpu(),
                          QuantizeFourBit(weight, options)->Tensors()[0].second));
  }
}

TEST_F(PackedOnGpu, SparseProductRunsOnSparseTensorCores) {
  const at::Tensor weight = Normal({64, 128}, 4);
  const at::Tensor fours = weight.unflatten(1, {-1, 4});
  const at::Tensor pruned =
      fours.scatter(2, std::get<1>(fours.abs().topk(2, 2, /*largest=*/false)), 0.0).flatten(1);
  const auto matrix = StoreSparse24(pruned).value()->To(at::kCUDA);
  if (!HasSparse24Product(at::Device(at::kCUDA, 0))) GTEST_SKIP() << "no cuSPARSELt";
  for (const int64_t tokens : {1, 8, 30, 256}) {
    const at::Tensor x = Normal({tokens, 128}, 5).cuda().to(at::kBFloat16);
    const at::Tensor out = matrix->Product(x);
    const at::Tensor exact =
        at::linear(x.to(at::kFloat), pruned.cuda().to(at::kBFloat16).to(at::kFloat));
    ASSERT_EQ(out.sizes(), exact.sizes());
    EXPECT_LT((out.to(at::kFloat) - exact).abs().max().item<double>(),
              0.01 * exact.abs().max().item<double>())
        << tokens;
  }
}

}  // namespace
}  // namespace attnlab
