// GPTQ and SparseGPT on a CUDA device against the CPU. Skips without a device.

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include "libs/compress/gptq.h"
#include "libs/compress/sparsegpt.h"
#include "tests/compress/correlated.h"

namespace attnlab {
namespace {

class GpuTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  }
};

TEST_F(GpuTest, GptqAgreesWithTheCpu) {
  const CorrelatedCase made = MakeCorrelated(128, 512, 2000);
  for (const GptqOptions& options :
       {GptqOptions{}, GptqOptions{.bits = 3, .group_size = 128, .act_order = true}}) {
    const auto cpu = SolveGptq(made.weight, made.hessian, options);
    const auto gpu = SolveGptq(made.weight.cuda(), made.hessian.cuda(), options);
    ASSERT_TRUE(cpu.ok() && gpu.ok()) << gpu.status();
    ASSERT_TRUE(gpu->codes.is_cuda());
    EXPECT_GE(gpu->codes.cpu().eq(cpu->codes).to(at::kDouble).mean().item<double>(), 0.99);
    EXPECT_NEAR(gpu->loss / cpu->loss, 1, 1e-3);
  }
}

TEST_F(GpuTest, SparseGptAgreesWithTheCpu) {
  const CorrelatedCase made = MakeCorrelated(128, 512, 2000);
  for (const int64_t period : {0, 4}) {
    const SparseGptOptions options = {.zeros = period / 2, .period = period};
    const auto cpu = SolveSparseGpt(made.weight, made.hessian, options);
    const auto gpu = SolveSparseGpt(made.weight.cuda(), made.hessian.cuda(), options);
    ASSERT_TRUE(cpu.ok() && gpu.ok()) << gpu.status();
    EXPECT_GE(gpu->values.cpu().eq(0).eq(cpu->values.eq(0)).to(at::kDouble).mean().item<double>(),
              0.999);
    EXPECT_NEAR(gpu->loss / cpu->loss, 1, 1e-3);
  }
}

}  // namespace
}  // namespace attnlab
