// Options, dtypes, strides, gradient modes, the cache, and agreement with LibTorch's own attention.
#include <c10/core/GradMode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/attention/kv_cache.h"
#include "libs/attention/op.h"
#include "libs/attention/reference.h"
#include "tests/attention/dense.h"
#include "tests/attention/run.h"

namespace attnlab {
namespace {

using testing::HasSubstr;

std::string MessageOf(const AttentionOptions& options) {
  return std::string(Validate(options).message());
}

TEST(Options, DefaultsAreValid) {
  EXPECT_TRUE(Validate({}).ok());
  for (const std::string& weighting : WeightingNames()) {
    EXPECT_TRUE(Validate({.weighting = weighting}).ok()) << weighting;
  }
}

TEST(Options, ErrorsNameWhatIsKnown) {
  EXPECT_THAT(MessageOf({.weighting = "sofmax"}), HasSubstr("known: softmax, "));
  EXPECT_THAT(MessageOf({.implementation = "fast"}), HasSubstr("known: auto, "));
  EXPECT_THAT(MessageOf({.weighting = "softpick", .constants = {{"eps", 1}}}),
              HasSubstr("it has epsilon"));
  EXPECT_THAT(MessageOf({.constants = {{"epsilon", 1}}}), HasSubstr("it has none"));
  EXPECT_THAT(MessageOf({.weighting = "softpick", .implementation = "sdpa"}), HasSubstr("softmax"));
  EXPECT_THAT(MessageOf({.causal = false, .window = 4}), HasSubstr("causal"));
  EXPECT_THAT(MessageOf({.first_kept = 4}), HasSubstr("window"));
  EXPECT_FALSE(Validate({.scale = -1}).ok());
  EXPECT_FALSE(Validate({.window = -1}).ok());
}

TEST(Options, HeadParametersStartAsTheVariantSays) {
  EXPECT_TRUE(HeadParameters({}).empty());
  const auto sink = HeadParameters({.weighting = "sink_logit"});
  ASSERT_EQ(sink.size(), 1u);
  EXPECT_EQ(sink[0].name, "sink_logit");
  const auto relu = HeadParameters({.weighting = "thresholded_relu"});
  ASSERT_EQ(relu.size(), 3u);
  EXPECT_DOUBLE_EQ(relu[2].Initial(0), 0.0625);
  EXPECT_DOUBLE_EQ(relu[2].Initial(2), 0.0625 / 4);
}

TEST(Options, ConstantsReachEveryImplementation) {
  for (const char* implementation : {"reference", "blocked", "kernel"}) {
    AttentionOptions options = {.weighting = "softpick", .constants = {{"epsilon", 0.5}}};
    const Operands operands = RandomOperands({1, 1, 1, 9, 9, 4, 4}, options);
    const at::Tensor expected = DenseAttention(operands, options);
    options.implementation = implementation;
    const Operands f = operands.To(at::kFloat);
    EXPECT_LT(Distance(Attention(f.q, f.k, f.v, options), expected), 1e-6) << implementation;
  }
}

TEST(Attention, SoftmaxIsLibTorchs) {
  for (const bool causal : {true, false}) {
    for (const int64_t window : {0, 5}) {
      if (window > 0 && !causal) continue;
      for (const int64_t keys : {40, 55}) {
        AttentionOptions options = {.causal = causal, .window = window};
        const Operands operands = RandomOperands({2, 4, 2, 40, keys, 16, 16}, options);
        options.implementation = "sdpa";
        const Results peer = RunWithGradients(operands.To(at::kDouble, at::kCPU, true), options);
        options.implementation = "auto";
        const Results ours = RunWithGradients(operands.To(at::kFloat, at::kCPU, true), options);
        EXPECT_LT(Distance(ours.out, peer.out), 1e-6);
        for (int i = 0; i < 3; ++i) EXPECT_LT(Distance(ours.grads[i], peer.grads[i]), 1e-5);
      }
    }
  }
}

TEST(Attention, SdpaRefusesOtherVariants) {
  const AttentionOptions options = {.weighting = "softpick", .implementation = "sdpa"};
  const Operands f = RandomOperands({1, 1, 1, 4, 4, 4, 4}, options).To(at::kFloat);
  EXPECT_THROW(Attention(f.q, f.k, f.v, options), c10::Error);
}

TEST(Attention, RefusesShapesThatDoNotFit) {
  const Operands f = RandomOperands({1, 3, 3, 4, 4, 4, 4}, {}).To(at::kFloat);
  EXPECT_THROW(Attention(f.q, f.k.slice(1, 0, 2), f.v.slice(1, 0, 2), {}), c10::Error);
  EXPECT_THROW(Attention(f.q, f.k.slice(2, 0, 3), f.v.slice(2, 0, 3), {}), c10::Error);
  EXPECT_THROW(Attention(f.q, f.k, f.v.slice(2, 0, 3), {}), c10::Error);
}

// bfloat16 operands: the error stays that of rounding the operands and the output, a few 2^-8; what
// heads learn is summed from numbers that were not rounded.
TEST(Attention, BFloat16) {
  for (const std::string& weighting : WeightingNames()) {
    for (const char* implementation : {"blocked", "kernel", "reference"}) {
      AttentionOptions options = {.weighting = weighting};
      const Operands rounded = RandomOperands({1, 2, 1, 70, 70, 16, 16}, options).To(at::kBFloat16);
      options.implementation = "reference";
      const Results expected = RunWithGradients(rounded.To(at::kDouble, at::kCPU, true), options);
      options.implementation = implementation;
      const Results ours = RunWithGradients(rounded.To(at::kBFloat16, at::kCPU, true), options);
      EXPECT_EQ(ours.out.scalar_type(), at::kBFloat16);
      EXPECT_LT(Distance(ours.out, expected.out), 0.01) << weighting << " " << implementation;
      for (size_t i = 0; i < ours.grads.size(); ++i) {
        EXPECT_LT(Distance(ours.grads[i], expected.grads[i]), i < 3 ? 0.02 : 0.001)
            << weighting << " " << implementation << " gradient " << i;
      }
    }
  }
}

// The model's views: [B, T, H, D] transposed, and slices of one fused projection.
TEST(Attention, ReadsStridedViews) {
  for (const char* implementation : {"blocked", "kernel", "reference"}) {
    const AttentionOptions options = {.weighting = "softpick", .implementation = implementation};
    const Operands f = RandomOperands({2, 3, 3, 70, 70, 8, 8}, options).To(at::kFloat);
    const at::Tensor expected = Attention(f.q, f.k, f.v, options);
    const auto rows_first = [](const at::Tensor& t) {
      return t.transpose(1, 2).contiguous().transpose(1, 2);
    };
    Operands views = {
        rows_first(f.q), rows_first(f.k), rows_first(f.v), {}, rows_first(f.out_grad)};
    for (at::Tensor* t : {&views.q, &views.k, &views.v}) t->set_requires_grad(true);
    const Results strided = RunWithGradients(views, options);
    EXPECT_LT(Distance(strided.out, expected), 1e-6) << implementation;
    const Results dense = RunWithGradients(f.To(at::kFloat, at::kCPU, true), options);
    for (int i = 0; i < 3; ++i) EXPECT_LT(Distance(strided.grads[i], dense.grads[i]), 1e-6);
  }
}

TEST(Attention, KeepsNothingWithoutGradients) {
  const Operands f = RandomOperands({1, 1, 1, 4, 4, 4, 4}, {}).To(at::kFloat, at::kCPU, true);
  for (const char* implementation : {"blocked", "kernel", "reference"}) {
    const AttentionOptions options = {.implementation = implementation};
    EXPECT_TRUE(Attention(f.q, f.k, f.v, options).requires_grad());
    const c10::AutoGradMode off(false);
    EXPECT_FALSE(Attention(f.q, f.k, f.v, options).requires_grad());
  }
}

TEST(Attention, OnlyAHeadParameterNeedsAGradient) {
  for (const char* implementation : {"blocked", "kernel", "reference"}) {
    const AttentionOptions options = {.weighting = "sink_logit", .implementation = implementation};
    const Operands f = RandomOperands({1, 2, 2, 6, 6, 4, 4}, options).To(at::kFloat);
    const Operands g = f.To(at::kFloat, at::kCPU, true);
    const at::Tensor out = Attention(f.q, f.k, f.v, options, g.learned);
    out.backward(f.out_grad);
    EXPECT_TRUE(g.learned[0].grad().defined()) << implementation;
  }
}

TEST(Weights, TimesValuesIsTheOutput) {
  for (const std::string& weighting : WeightingNames()) {
    AttentionOptions options = {.weighting = weighting, .window = 20, .first_kept = 2};
    const Operands operands = RandomOperands({2, 4, 2, 50, 60, 8, 8}, options).To(at::kDouble);
    const at::Tensor weights =
        AttentionWeights(operands.q, operands.k, options, operands.learned, 10, 30);
    EXPECT_EQ(weights.sizes(), at::IntArrayRef({2, 4, 20, 60}));
    const at::Tensor values = operands.v.repeat_interleave(2, 1);
    EXPECT_LT(Distance(weights.matmul(values), DenseAttention(operands, options).slice(2, 10, 30)),
              1e-7)
        << weighting;
    EXPECT_TRUE(weights.slice(3, 2, 1).eq(0).all().item<bool>());
  }
}

TEST(KvCache, StepsEqualOneForward) {
  for (const std::string& weighting : WeightingNames()) {
    for (const char* implementation : {"auto", "blocked", "reference"}) {
      const AttentionOptions options = {
          .weighting = weighting, .window = 30, .first_kept = 3, .implementation = implementation};
      const Operands f = RandomOperands({2, 4, 2, 75, 75, 8, 6}, options, 2).To(at::kFloat);
      const at::Tensor whole = Attention(f.q, f.k, f.v, options, f.learned);
      KvCache cache(2, 2, /*capacity=*/80, 8, 6, f.k.options());
      int64_t begin = 0;
      for (const int64_t count : {20, 1, 1, 9, 1, 43}) {
        const int64_t end = begin + count;
        cache.Append(f.k.slice(2, begin, end), f.v.slice(2, begin, end));
        const at::Tensor out = CachedAttention(f.q.slice(2, begin, end), cache, options, f.learned);
        EXPECT_LT(Distance(out, whole.slice(2, begin, end)), 2e-6)
            << weighting << " " << implementation << " at " << begin;
        begin = end;
      }
    }
  }
}

TEST(KvCache, RefusesWhatDoesNotFit) {
  KvCache cache(1, 2, /*capacity=*/4, 8, 8, at::TensorOptions(at::kFloat));
  const Operands f = RandomOperands({1, 2, 2, 3, 3, 8, 8}, {}).To(at::kFloat);
  cache.Append(f.k, f.v);
  EXPECT_THROW(cache.Append(f.k, f.v), c10::Error);
  EXPECT_THROW(cache.Append(f.k.slice(1, 0, 1).slice(2, 0, 1), f.v.slice(2, 0, 1)), c10::Error);
  EXPECT_EQ(cache.length(), 3);
  cache.Truncate(1);
  cache.Append(f.k, f.v);
  EXPECT_EQ(cache.length(), 4);
  EXPECT_THROW(cache.Truncate(5), c10::Error);
}

}  // namespace
}  // namespace attnlab
