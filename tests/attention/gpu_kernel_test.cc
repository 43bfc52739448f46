// The CUDA kernels through the differentiable operation, over the registry: their error against
// that of LibTorch in the same 16-bit type, skipping, repeated runs, hazards. Skips without a
// device.
#include <ATen/Context.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/zeros.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>

#include "libs/attention/kernel_path.h"
#include "libs/attention/op.h"
#include "tests/attention/dense.h"
#include "tests/attention/run.h"

namespace attnlab {
namespace {

struct Case {
  const char* name;
  Dimensions dimensions;
  bool causal = true;
  int64_t window = 0, first_kept = 0;
  double sharpness = 1;  // of q
  at::ScalarType type = at::kBFloat16;
  double outlier = 1;  // one number in 50 of q and k
};

const Case kCases[] = {
    {"One", {1, 1, 1, 1, 1, 64, 64}},
    {"Uneven", {2, 4, 2, 333, 333, 64, 64}},
    {"Wide", {1, 2, 2, 450, 450, 128, 128}},
    {"Full", {1, 2, 1, 200, 300, 64, 64}, false},
    {"LateQueries", {2, 4, 1, 70, 400, 128, 128}},
    {"Window", {1, 2, 2, 600, 600, 64, 64}, true, 100, 4},
    {"WideWindow", {1, 2, 2, 600, 600, 128, 128}, true, 130, 70},
    {"Half", {1, 2, 2, 333, 333, 64, 64}, true, 0, 0, 1, at::kHalf},
    {"Sharp", {1, 2, 2, 400, 400, 64, 64}, true, 0, 0, 20},
    // Scores that exceed those of a row's first tile by far more than float32 has exponents for.
    {"Steep", {1, 2, 2, 700, 700, 64, 64}, true, 0, 0, 60},
    {"WideSteep", {1, 2, 1, 500, 500, 128, 128}, true, 0, 0, 60},
    {"Faint", {1, 2, 2, 400, 400, 128, 128}, true, 0, 0, 1e-3},
    {"Outliers", {1, 2, 2, 400, 400, 64, 64}, true, 0, 0, 1, at::kBFloat16, 30},
    {"Zero", {1, 2, 2, 200, 200, 64, 64}, true, 0, 0, 0},
};

Operands MakeOperands(const Case& test, const AttentionOptions& options, int seed) {
  Operands operands = RandomOperands(test.dimensions, options, test.sharpness, seed);
  for (at::Tensor* x : {&operands.q, &operands.k}) {
    at::Tensor some = x->view(-1).slice(0, seed, {}, 50);
    some.mul_(test.outlier);
  }
  return operands.To(test.type, at::kCUDA);
}

// Relative to `least` where the exact numbers are smaller.
double RelativeError(const at::Tensor& got, const at::Tensor& exact, double least = 0) {
  const at::Tensor difference = got.to(at::kDouble).sub(exact.to(at::kDouble));
  const double norm = std::max(least, at::linalg_vector_norm(exact.to(at::kDouble)).item<double>());
  const double error = at::linalg_vector_norm(difference).item<double>();
  return norm == 0 ? error : error / norm;
}

class GpuKernelTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  }

  // Forward and backward of implementation `kernel`.
  Results Run(const Operands& operands, AttentionOptions options) {
    options.implementation = "kernel";
    return RunWithGradients(operands.To(operands.q.scalar_type(), at::kCUDA, true), options);
  }
};

std::vector<at::Tensor> All(const Results& results) {
  std::vector<at::Tensor> all = {results.out};
  all.insert(all.end(), results.grads.begin(), results.grads.end());
  return all;
}

// At most twice the error of LibTorch's products on the same 16-bit operands (blocked.h), and what
// one rounding of a result costs.
TEST_P(GpuKernelTest, ErrorIsThatOfTheType) {
  for (const Case& test : kCases) {
    AttentionOptions options = {.weighting = GetParam(),
                                .causal = test.causal,
                                .window = test.window,
                                .first_kept = test.first_kept};
    for (const int seed : {1, 2}) {
      SCOPED_TRACE(std::string(test.name) + ", seed " + std::to_string(seed));
      const Operands operands = MakeOperands(test, options, seed);
      const auto ours = All(Run(operands, options));
      options.implementation = "reference";
      const auto exact = All(RunWithGradients(operands.To(at::kDouble, at::kCUDA, true), options));
      options.implementation = "blocked";
      const auto plain = All(RunWithGradients(operands.To(test.type, at::kCUDA, true), options));
      const double rounding = test.type == at::kHalf ? 1e-3 : 8e-3;
      // With one key the gradients of q, k and what is learned are 0 but for rounding, which is
      // that of numbers of the output's size.
      const double least = test.dimensions.keys > 1
                               ? 0
                               : at::linalg_vector_norm(exact[0].to(at::kDouble)).item<double>();
      for (size_t i = 0; i < ours.size(); ++i) {
        const double allowed = 2 * RelativeError(plain[i], exact[i], least) + rounding;
        EXPECT_LE(RelativeError(ours[i], exact[i], least), allowed)
            << "result " << i << " of out, q, k, v, learned...";
      }
    }
  }
}

TEST_P(GpuKernelTest, TwoRunsAndSkippingChangeNoBit) {
  AttentionOptions options = {.weighting = GetParam()};
  const Case test = {"", {2, 4, 2, 700, 700, 64, 64}};
  Operands operands = MakeOperands(test, options, 3);
  // Some tiles without a weight: the first 128 keys score below 0 for a run of queries.
  operands.q.slice(2, 256, 512).select(3, 0).fill_(8);
  operands.k.slice(2, 0, 128).select(3, 0).fill_(-100);
  options.skip_zero_tiles = "on";
  const auto first = All(Run(operands, options)), again = All(Run(operands, options));
  options.skip_zero_tiles = "off";
  const auto whole = All(Run(operands, options));
  for (size_t i = 0; i < first.size(); ++i) {
    EXPECT_TRUE(first[i].equal(again[i])) << "two runs, result " << i;
    EXPECT_TRUE(first[i].equal(whole[i])) << "skipping, result " << i;
  }
}

// Layouts as projections leave them, and rows that do not begin on 16 bytes.
TEST_P(GpuKernelTest, AnyStrides) {
  const AttentionOptions options = {.weighting = GetParam()};
  const Case test = {"", {2, 2, 2, 200, 200, 64, 64}};
  const Operands dense = MakeOperands(test, options, 4);
  Operands views = dense;
  const auto interleave = [](const at::Tensor& t) {
    return t.transpose(1, 2).contiguous().transpose(1, 2);
  };
  views.q = interleave(dense.q);
  views.k = interleave(dense.k);
  at::Tensor odd = at::empty({2, 2, 200, 67}, dense.v.options()).slice(3, 3);
  odd.copy_(dense.v);
  views.v = odd;
  const at::Tensor expected = Attention(dense.q, dense.k, dense.v, options, dense.learned);
  const at::Tensor got = Attention(views.q, views.k, views.v, options, views.learned);
  EXPECT_TRUE(got.equal(expected));
}

INSTANTIATE_TEST_SUITE_P(Variants, GpuKernelTest, testing::ValuesIn(WeightingNames()),
                         [](const auto& info) { return info.param; });

// Bytes on the device beside what was there before: between forward and backward, and at most.
struct Memory {
  int64_t kept = 0;
  int64_t most = 0;
};

template <class Forward>
Memory MemoryOf(const Operands& operands, const Forward& forward) {
  c10::DeviceAllocator& allocator = *c10::getDeviceAllocator(at::kCUDA);
  constexpr auto kAll = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
  const auto stats = [&] { return allocator.getDeviceStats(0).allocated_bytes[kAll]; };
  const Operands leaves = operands.To(operands.q.scalar_type(), at::kCUDA, true);
  allocator.resetPeakStats(0);
  const int64_t before = stats().current;
  at::Tensor out = forward(leaves);
  Memory memory;
  memory.kept = stats().current - before;
  out.backward(leaves.out_grad);
  memory.most = stats().peak - before;
  return memory;
}

// No tensor of T by T: what a layer keeps and what it needs at most are those of LibTorch's fused
// attention.
TEST(GpuMemoryTest, ThatOfFusedAttention) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  const Case test = {"", {1, 16, 16, 8192, 8192, 64, 64}};
  for (const char* weighting : {"softmax", "softpick", "scaled_softpick"}) {
    const AttentionOptions options = {.weighting = weighting, .implementation = "kernel"};
    const Operands operands = MakeOperands(test, options, 1);
    const Memory ours = MemoryOf(
        operands, [&](const Operands& x) { return Attention(x.q, x.k, x.v, options, x.learned); });
    const Memory fused = MemoryOf(operands, [&](const Operands& x) {
      return at::scaled_dot_product_attention(x.q, x.k, x.v, {}, 0.0, true);
    });
    const auto mib = [](int64_t bytes) { return static_cast<double>(bytes) / (1 << 20); };
    std::printf("%s: keeps %.1f MiB, at most %.1f; LibTorch's fused attention %.1f and %.1f\n",
                weighting, mib(ours.kept), mib(ours.most), mib(fused.kept), mib(fused.most));
    EXPECT_LE(mib(ours.kept), 1.1 * mib(fused.kept)) << weighting;
    EXPECT_LE(mib(ours.most), 1.25 * mib(fused.most)) << weighting;
  }
}

// An epsilon that counts is one in units of e^m with the row's own maximum m, in whichever tile.
TEST(GpuKernelPathTest, LargeEpsilon) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  for (const char* weighting : {"softpick", "relu_softmax", "abs_softmax", "scaled_softpick"}) {
    SCOPED_TRACE(weighting);
    AttentionOptions options = {.weighting = weighting, .constants = {{"epsilon", 0.5}}};
    const Case test = {"", {1, 2, 2, 500, 500, 64, 64}, true, 0, 0, 2};
    const Operands operands = MakeOperands(test, options, 1);
    options.implementation = "kernel";
    const Results ours = RunWithGradients(operands.To(at::kBFloat16, at::kCUDA, true), options);
    options.implementation = "reference";
    const Results exact = RunWithGradients(operands.To(at::kDouble, at::kCUDA, true), options);
    EXPECT_LE(RelativeError(ours.out, exact.out), 0.01);
    for (size_t i = 0; i < 3; ++i) EXPECT_LE(RelativeError(ours.grads[i], exact.grads[i]), 0.02);
  }
}

TEST(GpuKernelPathTest, AutoTakesTheKernel) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  const auto options = at::TensorOptions().device(at::kCUDA).dtype(at::kBFloat16);
  const at::Tensor x = at::zeros({1, 2, 64, 64}, options);
  EXPECT_TRUE(HasKernel(x, x, x, {}));
  EXPECT_FALSE(HasKernel(x.to(at::kFloat), x.to(at::kFloat), x.to(at::kFloat), {}));
}

}  // namespace
}  // namespace attnlab
