// Rows of weights computed in float64 elsewhere, from the formulas alone: through the kernels with
// one-hot values, so that the output of a query is its row of weights.
#include <gtest/gtest.h>

#include "tests/kernels/cases.h"
#include "tests/kernels/registry.h"

namespace attnlab::testing {
namespace {

// Runs one query of head dim 1 (q = 1, scale 1) on keys `x`, values one-hot.
struct RowResult {
  std::vector<float> weights;
  Gradients<float> gradients;
};

template <class Variant>
RowResult RunRow(const std::vector<float>& x, std::vector<float> constants = {},
                 std::vector<float> learned = {}, std::vector<float> out_grad = {}) {
  const int64_t n = static_cast<int64_t>(x.size());
  Tensors<float> inputs;
  inputs.q = {1.0f};
  inputs.k = x;
  inputs.v.assign(n * n, 0.0f);
  for (int64_t j = 0; j < n; ++j) inputs.v[j * n + j] = 1.0f;
  inputs.out_grad = out_grad.empty() ? std::vector<float>(n, 1.0f) : out_grad;
  inputs.learned.resize(kMaxLearned);
  std::copy(learned.begin(), learned.end(), inputs.learned.begin());
  const Case test{"row", {1, 1, 1, 1, n, 1, n}};
  std::vector<int32_t> documents;
  Problem problem = MakeProblem<Variant>(test, MakeMask(test, documents), inputs);
  std::copy(constants.begin(), constants.end(), problem.constants);
  RowResult result;
  result.gradients = RunKernels({}, problem, inputs);
  result.weights = result.gradients.out;
  return result;
}

void ExpectRow(const RowResult& got, const std::vector<double>& want) {
  ASSERT_EQ(got.weights.size(), want.size());
  for (size_t j = 0; j < want.size(); ++j) {
    if (want[j] == 0) {
      EXPECT_EQ(got.weights[j], 0.0f) << j;
    } else {
      EXPECT_NEAR(got.weights[j], want[j], 1e-6 * std::abs(want[j]) + 1e-9) << j;
    }
  }
}

const std::vector<float> kX = {0.5f, -0.5f, 2.0f, -3.0f};

TEST(GoldenTest, Softpick) {
  ExpectRow(RunRow<Softpick>({1, 2, 3}), {0.0631886319, 0.234953142, 0.701857488});
  ExpectRow(RunRow<Softpick>({-1, 0, 1}), {0, 0, 0.731057733});
  ExpectRow(RunRow<Softpick>(kX), {0.0773994897, 0, 0.762283748, 0});
  ExpectRow(RunRow<Softpick>({0, 0, 0, 0}), {0, 0, 0, 0});
  ExpectRow(RunRow<Softpick>({-1, -2, -3}), {0, 0, 0});
  ExpectRow(RunRow<Softpick>({0.01f, -0.02f, 0.03f}), {0.166649931, 0, 0.504991205});
  ExpectRow(RunRow<Softpick>({100, 90, -50}), {0.999953602, 4.53978233e-05, 0});
  ExpectRow(RunRow<Softpick>({5}), {0.999998993});
}

// Column i of the Jacobian comes from a one-hot output gradient; the gradient of a key is that of
// its score, since q = 1.
TEST(GoldenTest, SoftpickJacobian) {
  const double jacobian[4][4] = {{0.18148506, 0, -0.14994910, 0},
                                 {0.00560107, 0, 0.05516319, 0},
                                 {-0.06823497, 0, 0.20956937, 0},
                                 {0.00045976, 0, 0.00452807, 0}};
  for (int i = 0; i < 4; ++i) {
    std::vector<float> one_hot(4, 0.0f);
    one_hot[i] = 1.0f;
    const RowResult row = RunRow<Softpick>(kX, {}, {}, one_hot);
    for (int j = 0; j < 4; ++j) EXPECT_NEAR(row.gradients.k[j], jacobian[j][i], 1e-7) << i << j;
  }
}

TEST(GoldenTest, Others) {
  ExpectRow(RunRow<Softmax>(kX), {.170074799, .0625670218, .762222366, .0051358139});
  ExpectRow(RunRow<Softmax1>(kX), {.154171181, .0567164079, .690947297, .00465556626});
  ExpectRow(RunRow<SinkLogit>(kX, {}, {1.0f}), {.132828811, .0488649888, .595297431, .00401108254});
  ExpectRow(RunRow<SinkLogit>(kX, {}, {0.0f}), {.154171181, .0567164079, .690947297, .00465556626});
  ExpectRow(RunRow<SsMax>(kX, {}, {0.43f}), {.24269667, .133714351, .593461448, .0301275302});
  ExpectRow(RunRow<ReluWeighting>(kX), {.125, 0, .5, 0});
  ExpectRow(RunRow<Relu2>(kX), {.0625, 0, 1, 0});
  ExpectRow(RunRow<SigmoidWeighting>(kX, {0.0f, 0.0f}),
            {.622459331, .377540669, .880797078, .0474258732});
  ExpectRow(RunRow<SigmoidWeighting>(kX), {.291875133, .131667562, .648785644, .0122937497});
}

// e^0.5 - 1 = 0.648721271, e^2 - 1 = 6.389056099, 1 - e^-0.5 = 0.393469340, 1 - e^-3 = 0.950212932.
TEST(GoldenTest, Relatives) {
  const double a = 0.648721271, b = 0.393469340, c = 6.389056099, d = 0.950212932;
  ExpectRow(RunRow<ReluSoftmax>(kX), {a / (a + c + 7.389e-6), 0, c / (a + c + 7.389e-6), 0});
  const double all = a + b + c + d + 7.389e-6;
  ExpectRow(RunRow<AbsSoftmax>(kX), {a / all, b / all, c / all, d / all});
  const double two = 1.648721271 + 7.389056099;
  ExpectRow(RunRow<RectifiedSoftmax>(kX), {1.648721271 / two, 0, 7.389056099 / two, 0});
  ExpectRow(RunRow<RectifiedSoftmax>({0, -1}), {1, 0});
  // a ln(t + 2) = 1 at t = 3 turns it into softpick.
  ExpectRow(RunRow<ScaledSoftpick>(kX, {}, {0.62133493f}), {0.0773994897, 0, 0.762283748, 0});
  // 2 s - 0.5 - 0.25 distance, distances 3, 2, 1, 0.
  ExpectRow(RunRow<ThresholdedRelu>(kX, {}, {2.0f, 0.5f, 0.25f}), {0, 0, 3.25, 0});
}

}  // namespace
}  // namespace attnlab::testing
