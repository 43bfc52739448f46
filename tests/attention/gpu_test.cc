// The implementations on a CUDA device, over the registry: against the reference in float64, in
// float64, float32 and bfloat16. Skips without a device.
#include <ATen/Context.h>
#include <gtest/gtest.h>

#include "libs/attention/kv_cache.h"
#include "libs/attention/op.h"
#include "tests/attention/dense.h"
#include "tests/attention/run.h"

namespace attnlab {
namespace {

struct Path {
  const char* name;
  at::ScalarType type;
  double out_tolerance;
  double grad_tolerance;
};

// bfloat16: a few roundings of 2^-9 each, of operands, weights and outputs.
const Path kPaths[] = {
    {"float64", at::kDouble, 1e-9, 1e-8},
    {"float32", at::kFloat, 5e-6, 5e-5},
    {"bfloat16", at::kBFloat16, 0.01, 0.02},
};

const Dimensions kShapes[] = {{2, 3, 3, 300, 300, 64, 64},
                              {1, 4, 2, 70, 333, 32, 32},
                              {2, 2, 1, 600, 600, 128, 64},
                              {1, 2, 1, 200, 450, 128, 128}};

class GpuTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  }
};

TEST_P(GpuTest, AgreesWithTheReference) {
  for (const Dimensions& dimensions : kShapes) {
    for (const int64_t window : {0, 100}) {
      AttentionOptions options = {.weighting = GetParam(), .window = window};
      if (window > 0) options.first_kept = 4;
      for (const Path& path : kPaths) {
        SCOPED_TRACE(std::string(path.name) + ", queries " + std::to_string(dimensions.queries) +
                     ", window " + std::to_string(window));
        const Operands operands = RandomOperands(dimensions, options, 2).To(path.type);
        options.implementation = "reference";
        const Results expected =
            RunWithGradients(operands.To(at::kDouble, at::kCUDA, true), options);
        for (const char* implementation : {"blocked", "auto"}) {
          SCOPED_TRACE(implementation);
          options.implementation = implementation;
          const Results ours = RunWithGradients(operands.To(path.type, at::kCUDA, true), options);
          EXPECT_TRUE(ours.out.is_cuda());
          EXPECT_LT(Distance(ours.out, expected.out), path.out_tolerance);
          for (size_t i = 0; i < ours.grads.size(); ++i) {
            EXPECT_LT(Distance(ours.grads[i], expected.grads[i]), path.grad_tolerance)
                << "gradient " << i << " of q, k, v, learned...";
          }
        }
      }
    }
  }
}

TEST_P(GpuTest, CachedStepsEqualOneForward) {
  const AttentionOptions options = {.weighting = GetParam()};
  const Operands f =
      RandomOperands({2, 4, 2, 75, 75, 64, 64}, options, 2).To(at::kFloat, at::kCUDA);
  const at::Tensor whole = Attention(f.q, f.k, f.v, options, f.learned);
  KvCache cache(2, 2, /*capacity=*/80, 64, 64, f.k.options());
  int64_t begin = 0;
  for (const int64_t count : {20, 1, 1, 53}) {
    const int64_t end = begin + count;
    cache.Append(f.k.slice(2, begin, end), f.v.slice(2, begin, end));
    const at::Tensor out = CachedAttention(f.q.slice(2, begin, end), cache, options, f.learned);
    EXPECT_LT(Distance(out, whole.slice(2, begin, end)), 5e-6) << "at " << begin;
    begin = end;
  }
}

// The last key scores far above the rows before it, which may not feel it.
TEST_P(GpuTest, MaskedKeyOutshinesTheRow) {
  const AttentionOptions options = {.weighting = GetParam(), .scale = 1};
  Operands operands = RandomOperands({1, 1, 1, 80, 80, 2, 2}, options);
  operands.k.select(2, 79).mul_(300);
  const Results ours = RunWithGradients(operands.To(at::kFloat, at::kCUDA, true), options);
  AttentionOptions reference = options;
  reference.implementation = "reference";
  const Results expected = RunWithGradients(operands.To(at::kDouble, at::kCUDA, true), reference);
  EXPECT_LT(Distance(ours.out, expected.out), 1e-4);
  for (size_t i = 0; i < ours.grads.size(); ++i) {
    EXPECT_LT(Distance(ours.grads[i], expected.grads[i]), 1e-3);
  }
}

INSTANTIATE_TEST_SUITE_P(Variants, GpuTest, testing::ValuesIn(WeightingNames()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace attnlab
