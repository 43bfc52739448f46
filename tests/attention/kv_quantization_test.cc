// The Hadamard transform and keys and values stored with few bits.

#include "libs/attention/kv_quantization.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "libs/attention/hadamard.h"
#include "libs/attention/kv_cache.h"
#include "libs/attention/op.h"
#include "tests/attention/run.h"

namespace attnlab {
namespace {

TEST(Hadamard, IsOrthonormalWithEntriesOfOneSize) {
  for (const int64_t n : {1, 2, 12, 20, 64, 96, 512, 1408}) {
    const at::Tensor h = HadamardTransform(at::eye(n, at::kDouble));
    EXPECT_LT((h.matmul(h.t()) - at::eye(n, at::kDouble)).abs().max().item<double>(), 1e-12) << n;
    const at::Tensor back = HadamardTransform(h, FindHadamard(n), /*inverse=*/true);
    EXPECT_LT((back - at::eye(n, at::kDouble)).abs().max().item<double>(), 1e-12) << n;
    EXPECT_LT((h.abs() - 1 / std::sqrt(n)).abs().max().item<double>(), 1e-12) << n;
  }
}

TEST(Hadamard, KnowsItsSizes) {
  EXPECT_EQ(Describe(FindHadamard(512)), "512");
  EXPECT_EQ(Describe(FindHadamard(1408)), "44 x 32");
  EXPECT_EQ(Describe(FindHadamard(14336)), "224 x 64");
  EXPECT_EQ(Describe(FindHadamard(70)), "35 blocks of 2");
  EXPECT_EQ(Describe(FindHadamard(96, /*sylvester_only=*/true)), "3 blocks of 32");
}

TEST(Hadamard, SizesWithoutAMatrixAreBlocks) {
  const at::Tensor h = HadamardTransform(at::eye(6, at::kDouble));
  EXPECT_LT((h.matmul(h.t()) - at::eye(6, at::kDouble)).abs().max().item<double>(), 1e-12);
  EXPECT_EQ(h.ne(0).sum().item<int64_t>(), 12);
}

TEST(Hadamard, SmallMatrixByHand) {
  const at::Tensor h = HadamardTransform(at::eye(4, at::kDouble)) * 2;
  const double expected[4][4] = {{1, 1, 1, 1}, {1, -1, 1, -1}, {1, 1, -1, -1}, {1, -1, -1, 1}};
  for (int64_t i = 0; i < 4; ++i) {
    for (int64_t j = 0; j < 4; ++j) EXPECT_NEAR(h[i][j].item<double>(), expected[i][j], 1e-15);
  }
}

TEST(KvQuantization, ErrorIsAtMostHalfAStep) {
  const at::Tensor x = at::randn({2, 3, 50, 64}) * 3;
  for (const int64_t bits : {8, 4, 2}) {
    for (const int64_t group : {0, 16}) {
      const KvQuantization options = {.bits = bits, .group = group};
      const at::Tensor error = (QuantizeDequantize(x, options) - x).abs();
      const at::Tensor grouped = x.unflatten(-1, {-1, group > 0 ? group : 64});
      const at::Tensor range = grouped.amax(-1, true) - grouped.amin(-1, true);
      const at::Tensor step = range / ((1 << bits) - 1);
      // float16 of the scale and the minimum move a number by 2^-11 of them at most.
      const at::Tensor bound =
          step * 0.5 + (range + grouped.abs().amax(-1, true)) * std::exp2(-11) + 1e-6;
      EXPECT_TRUE((error.unflatten(-1, {-1, grouped.size(-1)}) <= bound).all().item<bool>())
          << bits << " bits, group " << group;
      EXPECT_GT(error.max().item<double>(), 0.4 * step.max().item<double>());
    }
  }
}

TEST(KvQuantization, CodesByHand) {
  const at::Tensor x = at::zeros({1, 8});
  for (int64_t i = 0; i < 8; ++i) x[0][i] = i % 4 - 1;  // -1 0 1 2 twice
  const KvCodes stored = QuantizeKv(x, {.bits = 2});
  EXPECT_EQ(stored.codes.sizes(), at::IntArrayRef({1, 2}));
  EXPECT_EQ(stored.codes[0][0].item<int>(), 0b11100100);
  EXPECT_EQ(stored.scale[0][0].item<float>(), 1);
  EXPECT_EQ(stored.minimum[0][0].item<float>(), -1);
  EXPECT_TRUE(at::equal(DequantizeKv(stored, {.bits = 2}, at::kFloat), x));
}

TEST(KvQuantization, EqualHugeAndTinyNumbersStayFinite) {
  for (const double value : {0.0, 1.5, -7.0, 1e-9, 6e4, 1e30}) {
    const at::Tensor x = at::full({1, 1, 1, 64}, value);
    const at::Tensor back = QuantizeDequantize(x, {.bits = 4});
    EXPECT_TRUE(back.isfinite().all().item<bool>()) << value;
    if (value < 1e5) {
      EXPECT_LE((back - x).abs().max().item<double>(), std::abs(value) * 5e-4 + 1e-7);
    }
  }
}

TEST(KvQuantization, RejectsWhatDoesNotFit) {
  EXPECT_TRUE(Validate(KvQuantization{.bits = 4, .group = 32}, 64).ok());
  EXPECT_THAT(Validate(KvQuantization{.bits = 3}, 64).message(), testing::HasSubstr("bits = 3"));
  EXPECT_THAT(Validate(KvQuantization{.bits = 4, .group = 48}, 64).message(),
              testing::HasSubstr("group = 48"));
  EXPECT_FALSE(Validate(KvQuantization{.bits = 2}, 6).ok());
}

// What a cache gives back is what QuantizeDequantize gives, bit for bit, however it was filled;
// so attention without a cache agrees with decoding.
TEST(KvQuantization, CacheAndWholeTextAgreeBitForBit) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    for (const int64_t bits : {8, 4, 2}) {
      const KvQuantization quantization = {.bits = bits, .group = 16, .rotate = true};
      const at::Tensor k = at::randn({2, 3, 40, 64}).to(dtype);
      const at::Tensor v = at::randn({2, 3, 40, 32}).to(dtype);
      KvCache cache(2, 3, 48, 64, 32, k.options(), quantization);
      int64_t begin = 0;
      for (const int64_t count : {17, 1, 1, 21}) {
        const int64_t end = begin + count;
        cache.Append(RotateHeads(k.slice(2, begin, end)), v.slice(2, begin, end));
        begin = end;
      }
      EXPECT_TRUE(at::equal(cache.keys(), QuantizeDequantize(RotateHeads(k), quantization)));
      EXPECT_TRUE(at::equal(cache.values(), QuantizeDequantize(v, quantization)));
      EXPECT_EQ(cache.Bytes(), 2 * 3 * 48 * ((64 + 32) * bits / 8 + (4 + 2) * 4));
    }
  }
}

TEST(KvQuantization, DecodingSeesTheQuantizedNumbers) {
  const AttentionOptions options;
  const KvQuantization quantization = {.bits = 4};
  const Operands f = RandomOperands({2, 4, 2, 30, 30, 16, 8}, options, 2).To(at::kFloat);
  const at::Tensor whole = Attention(f.q, QuantizeDequantize(f.k, quantization),
                                     QuantizeDequantize(f.v, quantization), options, f.learned);
  KvCache cache(2, 2, 30, 16, 8, f.k.options(), quantization);
  for (int64_t t = 0; t < 30; ++t) {
    cache.Append(f.k.slice(2, t, t + 1), f.v.slice(2, t, t + 1));
    EXPECT_LT(Distance(CachedAttention(f.q.slice(2, t, t + 1), cache, options, f.learned),
                       whole.slice(2, t, t + 1)),
              2e-6);
  }
}

TEST(KvQuantization, RotationKeepsScores) {
  const at::Tensor q = at::randn({2, 3, 9, 64}), k = at::randn({2, 3, 11, 64});
  const at::Tensor scores = q.matmul(k.transpose(2, 3));
  const at::Tensor rotated = RotateHeads(q).matmul(RotateHeads(k).transpose(2, 3));
  EXPECT_LT((scores - rotated).abs().max().item<double>(), 1e-4);
}

// One large component costs 4-bit keys most of their accuracy; spread over the head it does not.
TEST(KvQuantization, RotationSpreadsOutliers) {
  const at::Tensor k = at::randn({1, 2, 50, 64});
  k.select(3, 5).add_(40);
  const auto error = [](const at::Tensor& x) {
    return (QuantizeDequantize(x, {.bits = 4}) - x).square().mean().item<double>();
  };
  EXPECT_LT(error(RotateHeads(k)) * 4, error(k));
}

}  // namespace
}  // namespace attnlab
