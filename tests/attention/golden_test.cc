// Rows of scores whose weights are known to nine figures, computed in float64 by hand of the
// formulas, through every implementation: head dimension 1, one query 1, keys = scores, values =
// the identity, so that the output is the weights.
#include <ATen/ops/eye.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <map>

#include "libs/attention/op.h"
#include "tests/attention/dense.h"

namespace attnlab {
namespace {

struct Golden {
  const char* weighting;
  std::vector<double> scores;
  std::vector<double> weights;
  std::map<std::string, double> constants = {};
  double learned = 0;
};

const std::vector<double> kMixed = {0.5, -0.5, 2, -3};

const Golden kGolden[] = {
    {"softmax", kMixed, {0.170074799, 0.0625670218, 0.762222366, 0.0051358139}},
    {"softmax1", kMixed, {0.154171181, 0.0567164079, 0.690947297, 0.00465556626}},
    {"sink_logit", kMixed, {0.132828811, 0.0488649888, 0.595297431, 0.00401108254}, {}, 1},
    {"ssmax", kMixed, {0.24269667, 0.133714351, 0.593461448, 0.0301275302}, {}, 0.43},
    {"relu", kMixed, {0.125, 0, 0.5, 0}},
    {"relu2", kMixed, {0.0625, 0, 1, 0}},
    {"sigmoid",
     kMixed,
     {0.622459331, 0.377540669, 0.880797078, 0.0474258732},
     {{"log_visible", 0}}},
    {"sigmoid", kMixed, {0.291875133, 0.131667562, 0.648785644, 0.0122937497}},
    {"softpick", {1, 2, 3}, {0.0631886319, 0.234953142, 0.701857488}},
    {"softpick", {-1, 0, 1}, {0, 0, 0.731057733}},
    {"softpick", kMixed, {0.0773994897, 0, 0.762283748, 0}},
    {"softpick", {0, 0, 0, 0}, {0, 0, 0, 0}},
    {"softpick", {-1, -2, -3}, {0, 0, 0}},
    {"softpick", {0.01, -0.02, 0.03}, {0.166649931, 0, 0.504991205}},
    {"softpick", {100, 90, -50}, {0.999953602, 4.53978233e-05, 0}},
    {"softpick", {5}, {0.999998993}},
};

at::Tensor WeightsOf(const Golden& golden, const at::Tensor& keys, const char* implementation) {
  AttentionOptions options;
  options.weighting = golden.weighting;
  options.constants = golden.constants;
  options.scale = 1;
  options.causal = false;
  options.implementation = implementation;
  std::vector<at::Tensor> learned;
  for (size_t i = 0; i < HeadParameters(options).size(); ++i) {
    learned.push_back(at::ones({1}, at::kDouble).mul(golden.learned));
  }
  const int64_t n = keys.size(0);
  const at::Tensor one = at::ones({1, 1, 1, 1}, keys.options());
  const at::Tensor identity = at::eye(n, keys.options()).view({1, 1, n, n});
  return Attention(one, keys.view({1, 1, n, 1}), identity, options, learned).view({n});
}

class GoldenTest : public testing::TestWithParam<const char*> {};

TEST_P(GoldenTest, WeightsOfKnownRows) {
  const at::ScalarType type = std::string(GetParam()) == "kernel" ? at::kFloat : at::kDouble;
  for (const Golden& golden : kGolden) {
    const at::Tensor keys = at::tensor(golden.scores, at::kDouble).to(type);
    const at::Tensor weights = WeightsOf(golden, keys, GetParam());
    EXPECT_LT(Distance(weights, at::tensor(golden.weights, at::kDouble)),
              type == at::kDouble ? 2e-9 : 3e-7)
        << golden.weighting << " of " << keys;
  }
}

// Row j of the table: the weights' slopes by score j.
TEST_P(GoldenTest, JacobianOfSoftpick) {
  const double jacobian[4][4] = {{0.18148506, 0, -0.14994910, 0},
                                 {0.00560107, 0, 0.05516319, 0},
                                 {-0.06823497, 0, 0.20956937, 0},
                                 {0.00045976, 0, 0.00452807, 0}};
  const at::ScalarType type = std::string(GetParam()) == "kernel" ? at::kFloat : at::kDouble;
  for (int i = 0; i < 4; ++i) {
    const at::Tensor keys = at::tensor(kMixed, at::kDouble).to(type).set_requires_grad(true);
    WeightsOf({"softpick", kMixed, {}}, keys, GetParam())[i].backward();
    for (int j = 0; j < 4; ++j) {
      EXPECT_NEAR(keys.grad()[j].item<double>(), jacobian[j][i], 1e-7) << i << " by " << j;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Implementations, GoldenTest,
                         testing::Values("reference", "blocked", "kernel"));

}  // namespace
}  // namespace attnlab
