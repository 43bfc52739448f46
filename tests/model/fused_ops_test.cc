// The decoder's pieces in float32 and bfloat16 against the same formulas written with LibTorch's
// operators in float64, values and gradients.

#include "libs/model/fused_ops.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "libs/core/rng.h"

namespace attnlab {
namespace {

using Tensors = std::vector<at::Tensor>;

at::Tensor Random(const std::string& name, at::IntArrayRef shape, double scale = 1) {
  at::Tensor values = at::empty(shape, at::kDouble);
  Rng rng(5, name);
  for (int64_t i = 0; i < values.numel(); ++i) {
    values.mutable_data_ptr<double>()[i] = scale * rng.Normal();
  }
  return values;
}

double Distance(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor exact = b.to(at::kDouble);
  return ((a.to(at::kDouble) - exact).abs().max() / (exact.abs().max() + 1e-3)).item<double>();
}

// Runs `made` on `inputs` cast to `dtype` and `wanted` on them in float64, with the same gradient
// of their outputs, and compares outputs and gradients.
void Compare(const Tensors& inputs, at::ScalarType dtype, double tolerance,
             const std::function<Tensors(const Tensors&)>& made,
             const std::function<Tensors(const Tensors&)>& wanted) {
  Tensors cast, exact;
  for (const at::Tensor& input : inputs) {
    cast.push_back(input.to(dtype).detach().requires_grad_());
    exact.push_back(cast.back().detach().to(at::kDouble).requires_grad_());
  }
  const Tensors outs = made(cast), wants = wanted(exact);
  ASSERT_EQ(outs.size(), wants.size());
  at::Tensor sum = at::zeros({}, at::kDouble), want_sum = at::zeros({}, at::kDouble);
  for (size_t i = 0; i < outs.size(); ++i) {
    ASSERT_EQ(outs[i].sizes(), wants[i].sizes());
    EXPECT_LT(Distance(outs[i], wants[i]), tolerance) << "output " << i;
    const at::Tensor weight = Random("output" + std::to_string(i), outs[i].sizes());
    sum = sum + (outs[i].to(at::kDouble) * weight).sum();
    want_sum = want_sum + (wants[i] * weight).sum();
  }
  sum.backward();
  want_sum.backward();
  for (size_t i = 0; i < cast.size(); ++i) {
    EXPECT_LT(Distance(cast[i].grad(), exact[i].grad()), tolerance) << "gradient " << i;
  }
}

struct Precision {
  at::ScalarType dtype;
  double tolerance;
};
const Precision kPrecisions[] = {{at::kDouble, 1e-12}, {at::kFloat, 2e-6}, {at::kBFloat16, 3e-2}};

Tensors NormFormula(const at::Tensor& sum, const at::Tensor& weight, double eps) {
  return {sum, weight * sum / (sum.square().mean(-1, true) + eps).sqrt()};
}

TEST(FusedOps, AddRmsNorm) {
  for (const auto& [dtype, tolerance] : kPrecisions) {
    SCOPED_TRACE(c10::toString(dtype));
    const Tensors inputs = {Random("x", {3, 7, 40}), Random("delta", {3, 7, 40}, 2),
                            Random("weight", {40})};
    Compare(
        inputs, dtype, tolerance,
        [dtype = dtype](const Tensors& in) -> Tensors {
          auto [sum, out] = AddRmsNorm(in[0], in[1], in[2], 1e-5, dtype);
          return {sum, out};
        },
        [](const Tensors& in) { return NormFormula(in[0] + in[1], in[2], 1e-5); });
    Compare(
        {inputs[0], inputs[2]}, dtype, tolerance,
        [dtype = dtype](const Tensors& in) -> Tensors {
          auto [sum, out] = AddRmsNorm(in[0], at::Tensor(), in[1], 1e-5, dtype);
          return {sum, out};
        },
        [](const Tensors& in) { return NormFormula(in[0], in[1], 1e-5); });
  }
}

TEST(FusedOps, RmsNormWeightGradientOverManyRows) {
  Compare(
      {Random("x", {3000, 24}), Random("weight", {24})}, at::kFloat, 1e-5,
      [](const Tensors& in) -> Tensors {
        return {AddRmsNorm(in[0], at::Tensor(), in[1], 1e-6, at::kFloat).second};
      },
      [](const Tensors& in) -> Tensors { return {NormFormula(in[0], in[1], 1e-6)[1]}; });
}

TEST(FusedOps, PackedLinear) {
  for (const auto& [dtype, tolerance] : kPrecisions) {
    SCOPED_TRACE(c10::toString(dtype));
    Compare(
        {Random("x", {2, 5, 12}), Random("a", {6, 12}), Random("b", {1, 12}), Random("c", {9, 12})},
        dtype, tolerance,
        [](const Tensors& in) -> Tensors {
          return {PackedLinear(in[0], {in[1], in[2], in[3]})};
        },
        [](const Tensors& in) -> Tensors {
          return {at::matmul(in[0], at::cat({in[1], in[2], in[3]}).t())};
        });
  }
}

TEST(FusedOps, PackedLinearReadsNeighboursInPlaceAndStrangersByCopy) {
  const at::Tensor packed = Random("packed", {10, 4}), x = Random("x", {3, 4});
  const at::Tensor first = packed.narrow(0, 0, 6), second = packed.narrow(0, 6, 4);
  const at::Tensor want = at::matmul(x, packed.t());
  EXPECT_TRUE(at::equal(PackedLinear(x, {first, second}), want));
  EXPECT_TRUE(
      at::allclose(PackedLinear(x, {second, first}), at::matmul(x, at::cat({second, first}).t())));
  EXPECT_TRUE(
      at::allclose(PackedLinear(x, {first, first}), at::matmul(x, at::cat({first, first}).t())));
}

at::Tensor RopeFormula(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  const Tensors halves = x.chunk(2, -1);
  const at::Tensor turned = at::cat({-halves[1], halves[0]}, -1);
  return x * at::cat({cos, cos}, -1) + turned * at::cat({sin, sin}, -1);
}

TEST(FusedOps, SplitRotateWithGroupedHeads) {
  const int64_t heads = 6, kv_heads = 2, dim = 10, tokens = 9;
  const at::Tensor angles = Random("angles", {tokens, dim / 2}, 3);
  for (const auto& [dtype, tolerance] : kPrecisions) {
    SCOPED_TRACE(c10::toString(dtype));
    const at::ScalarType table = dtype == at::kDouble ? at::kDouble : at::kFloat;
    Compare(
        {Random("qkv", {2, tokens, (heads + 2 * kv_heads) * dim})}, dtype, tolerance,
        [&](const Tensors& in) -> Tensors {
          const QueryKeyValue parts =
              SplitRotate(in[0], heads, kv_heads, angles.cos().to(table), angles.sin().to(table));
          return {parts.q, parts.k, parts.v};
        },
        [&](const Tensors& in) -> Tensors {
          const Tensors parts = in[0]
                                    .view({2, tokens, heads + 2 * kv_heads, dim})
                                    .transpose(1, 2)
                                    .split_with_sizes({heads, kv_heads, kv_heads}, 1);
          return {RopeFormula(parts[0], angles.cos(), angles.sin()),
                  RopeFormula(parts[1], angles.cos(), angles.sin()), parts[2]};
        });
  }
}

TEST(FusedOps, SwiGlu) {
  for (const auto& [dtype, tolerance] : kPrecisions) {
    SCOPED_TRACE(c10::toString(dtype));
    Compare(
        {Random("gate_up", {4, 3, 42}, 3)}, dtype, tolerance,
        [](const Tensors& in) -> Tensors { return {SwiGlu(in[0])}; },
        [](const Tensors& in) -> Tensors {
          const Tensors parts = in[0].chunk(2, -1);
          return {parts[0] * at::sigmoid(parts[0]) * parts[1]};
        });
  }
}

at::Tensor CrossEntropyFormula(const at::Tensor& hidden, const at::Tensor& weight,
                               const at::Tensor& targets) {
  const at::Tensor log_p = at::log_softmax(at::matmul(hidden, weight.t()), -1);
  return -log_p.gather(1, targets.clamp_min(0).unsqueeze(1)).squeeze(1) * targets.ge(0);
}

TEST(FusedOps, LinearCrossEntropyWholeAndInChunks) {
  const at::Tensor targets = at::tensor({3, 0, 16, -100, 5, 5, 11}, at::kLong);
  for (const auto& [dtype, tolerance] : kPrecisions) {
    for (const int64_t chunk : {0, 17, 51, 1}) {  // all rows, one, three, and less than a row
      SCOPED_TRACE(testing::Message() << c10::toString(dtype) << ", chunk " << chunk);
      Compare(
          {Random("hidden", {7, 13}), Random("weight", {17, 13})}, dtype, tolerance,
          [&](const Tensors& in) -> Tensors {
            return {LinearCrossEntropy(in[0], in[1], targets, chunk)};
          },
          [&](const Tensors& in) -> Tensors {
            return {CrossEntropyFormula(in[0], in[1], targets)};
          });
    }
  }
}

TEST(FusedOps, LinearCrossEntropyOfNotANumberIsNotANumber) {
  at::Tensor weight = Random("weight", {17, 13}).to(at::kFloat);
  weight[4][2] = std::numeric_limits<float>::quiet_NaN();
  const at::Tensor loss = LinearCrossEntropy(Random("hidden", {2, 13}).to(at::kFloat), weight,
                                             at::tensor({3, 0}, at::kLong));
  EXPECT_TRUE(loss.isnan().all().item<bool>());
}

TEST(FusedOps, BackwardTwiceOverAKeptGraphIsTheSame) {
  at::Tensor hidden = Random("hidden", {7, 13}).to(at::kFloat).requires_grad_();
  const at::Tensor weight = Random("weight", {17, 13}).to(at::kFloat);
  const at::Tensor loss =
      LinearCrossEntropy(hidden, weight, at::tensor({3, 0, 16, 1, 5, 5, 11}, at::kLong)).sum();
  loss.backward({}, /*retain_graph=*/true);
  const at::Tensor first = hidden.grad().clone();
  hidden.mutable_grad().reset();
  loss.backward();
  EXPECT_TRUE(at::equal(hidden.grad(), first));
}

}  // namespace
}  // namespace attnlab
