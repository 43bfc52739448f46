// Integer weights and activations against their definition in float64, round trips, and files that
// lie.

#include "libs/packed/int_format.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "libs/attention/hadamard.h"
#include "libs/packed/format_list.h"
#include "tests/packed/tensors_in_memory.h"

namespace attnlab {
namespace {

using testing::HasSubstr;

at::Tensor Normal(at::IntArrayRef shape, uint64_t seed) {
  return at::randn(shape, at::detail::createCPUGenerator(seed));
}

absl::StatusOr<std::shared_ptr<const StoredMatrix>> Read(TensorsInMemory& tensors, int64_t rows,
                                                         int64_t cols, const Json& config) {
  return ReadIntMatrix(tensors, rows, cols, JsonRef(config, "config.json"));
}

// The rows of x rounded to `bits`, in float64 from the definition.
at::Tensor Rounded(const at::Tensor& x, int64_t bits) {
  const double largest = (1 << (bits - 1)) - 1;
  const at::Tensor scale = x.abs().amax(1, true).clamp_min(1e-5) / largest;
  return (x / scale).round().to(at::kDouble) * scale.to(at::kDouble);
}

TEST(IntFormat, CodesByHand) {
  const at::Tensor weight =
      at::tensor({-7.0f, 3.4f, 0.6f, 7.0f, 0.0f, 0.0f, 0.0f, 0.0f}).view({2, 4});
  const auto matrix = QuantizeInt(weight, {.bits = 4});
  const auto tensors = matrix->Tensors();
  EXPECT_TRUE(
      at::equal(tensors[0].second, at::tensor({0xb1, 0xf9, 0x88, 0x88}, at::kByte).view({2, 2})));
  EXPECT_EQ(tensors[1].second[0].item<float>(), 1.0f);
  EXPECT_TRUE(at::equal(matrix->Dense(at::kFloat)[0], at::tensor({-7.0f, 3.0f, 1.0f, 7.0f})));
}

TEST(IntFormat, WeightsAreWithinHalfAStep) {
  const at::Tensor weight = Normal({32, 48}, 1);
  for (const int64_t bits : {8, 4}) {
    const auto matrix = QuantizeInt(weight, {.bits = bits});
    const at::Tensor step = weight.abs().amax(1, true) / ((1 << (bits - 1)) - 1);
    EXPECT_TRUE(((matrix->Dense(at::kFloat) - weight).abs() <= step * 0.50001).all().item<bool>());
    EXPECT_EQ(matrix->Bytes(), 32 * 48 * bits / 8 + 32 * 4);
  }
}

TEST(IntFormat, ProductIsItsDefinition) {
  const at::Tensor weight = Normal({24, 96}, 2), x = Normal({3, 5, 96}, 3) * 2;
  for (const int64_t bits : {8, 4}) {
    for (const int64_t activation_bits : {8, 4, 0}) {
      for (const bool hadamard : {false, true}) {
        const auto matrix = QuantizeInt(weight, {bits, activation_bits}, hadamard);
        const at::Tensor h = HadamardTransform(at::eye(96));
        const at::Tensor inputs = hadamard ? x.view({15, 96}).matmul(h) : x.view({15, 96});
        const at::Tensor stored = Rounded(hadamard ? weight.matmul(h) : weight, bits);
        const at::Tensor tokens =
            activation_bits > 0 ? Rounded(inputs, activation_bits) : inputs.to(at::kDouble);
        const at::Tensor expected = tokens.matmul(stored.t());
        const at::Tensor out = matrix->Product(x);
        ASSERT_EQ(out.sizes(), at::IntArrayRef({3, 5, 24}));
        const at::Tensor error = (out.view({15, 24}) - expected).abs();
        if (hadamard) {
          // The transform's rounding may turn a code at a boundary: a few numbers move by a step.
          EXPECT_LT(error.mean().item<double>(), 0.01) << bits << " " << activation_bits;
        } else {
          EXPECT_LT(error.max().item<double>(), 3e-5) << bits << " " << activation_bits;
        }
      }
    }
  }
}

TEST(IntFormat, DenseUndoesTheTransform) {
  const at::Tensor weight = Normal({16, 44}, 4);
  const auto matrix = QuantizeInt(weight, {.bits = 8}, /*hadamard=*/true);
  EXPECT_LT((matrix->Dense(at::kFloat) - weight).abs().max().item<double>(), 0.05);
}

TEST(IntFormat, BfloatInputsGiveBfloatOutputs) {
  const auto matrix = QuantizeInt(Normal({8, 16}, 5), {});
  const at::Tensor x = Normal({2, 16}, 6).to(at::kBFloat16);
  EXPECT_EQ(matrix->Product(x).scalar_type(), at::kBFloat16);
}

// Outliers in a few input channels ruin 4-bit activations; the transform spreads them.
TEST(IntFormat, TransformSpreadsOutliers) {
  const at::Tensor weight = Normal({32, 128}, 7);
  at::Tensor x = Normal({40, 128}, 8);
  x.select(1, 3).add_(60);
  const at::Tensor exact = x.matmul(weight.t());
  const auto error = [&](bool hadamard) {
    const auto matrix = QuantizeInt(weight, {.bits = 8, .activation_bits = 4}, hadamard);
    return (matrix->Product(x) - exact).square().mean().item<double>();
  };
  EXPECT_LT(error(true) * 5, error(false));
}

TEST(IntFormat, RoundTripAndFilesThatLie) {
  for (const int64_t bits : {8, 4}) {
    const IntOptions options = {.bits = bits, .activation_bits = 4};
    const Json config = IntConfig(options, {"mlp.down_proj"});
    const auto matrix = QuantizeInt(Normal({6, 24}, 9), options, /*hadamard=*/true);
    TensorsInMemory file(*matrix);
    const auto read = Read(file, 6, 24, config);
    ASSERT_TRUE(read.ok()) << read.status();
    const at::Tensor x = Normal({3, 24}, 10);
    EXPECT_TRUE(at::equal((*read)->Product(x), matrix->Product(x)));
    EXPECT_EQ(file.taken.size(), 2u);

    TensorsInMemory other(*matrix);
    other.Rename("model.layers.0.mlp.up_proj");
    EXPECT_FALSE(at::equal((*Read(other, 6, 24, config))->Product(x), matrix->Product(x)));

    EXPECT_THAT(Read(file, 6, 26, config).status().message(), HasSubstr("expected"));
    TensorsInMemory scale(*matrix);
    scale.tensors["weight_scale"][1] = NAN;
    EXPECT_THAT(Read(scale, 6, 24, config).status().message(), HasSubstr("not finite"));
    TensorsInMemory missing(*matrix);
    missing.tensors.erase("weight_scale");
    EXPECT_FALSE(Read(missing, 6, 24, config).ok());
  }
  TensorsInMemory none;
  Json config = IntConfig({});
  EXPECT_THAT(Read(none, 6, 24, Json(config).Set("bits", 5)).status().message(),
              HasSubstr("bits = 5"));
  EXPECT_THAT(Read(none, 6, 24, Json(config).Set("activation_bits", -1)).status().message(),
              HasSubstr("activation_bits = -1"));
  EXPECT_FALSE(Read(none, 6, 24, Json(config).Set("hadamard", "down_proj")).ok());
  EXPECT_THAT(Read(none, 6, 23, Json(config).Set("bits", 4)).status().message(),
              HasSubstr("23 columns"));
}

}  // namespace
}  // namespace attnlab
