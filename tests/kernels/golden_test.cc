// Rows of weights computed in float64 elsewhere, from the formulas alone: through the kernels with
// one-hot values, so that the output of a query is its row of weights.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/kernels/cases.h"

namespace attnlab::testing {
namespace {

// Runs one query of head dim 1 (q = 1, scale 1) on keys `x`, values one-hot.
struct RowResult {
  std::vector<float> weights;
  Gradients<float> gradients;
};

RowResult RunRow(const std::string& name, const std::vector<float>& x,
                 const std::vector<float>& constants = {}, const std::vector<float>& learned = {},
                 const std::vector<float>& out_grad = {}) {
  const Subject subject = Registered(name);
  const int64_t n = static_cast<int64_t>(x.size());
  const Case test{"row", {1, 1, 1, 1, n, 1, n}};
  Tensors<float> inputs = MakeInputs(subject, test, 1);
  inputs.q = {1.0f};
  inputs.k = x;
  inputs.v.assign(n * n, 0.0f);
  for (int64_t j = 0; j < n; ++j) inputs.v[j * n + j] = 1.0f;
  if (!out_grad.empty()) inputs.out_grad = out_grad;
  std::copy(learned.begin(), learned.end(), inputs.learned.begin());
  std::vector<int32_t> documents;
  Problem problem = MakeProblem(subject, test, MakeMask(test, documents), inputs);
  std::copy(constants.begin(), constants.end(), problem.constants);
  RowResult result;
  result.gradients = RunKernels(subject, problem, inputs);
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
  ExpectRow(RunRow("softpick", {1, 2, 3}), {0.0631886319, 0.234953142, 0.701857488});
  ExpectRow(RunRow("softpick", {-1, 0, 1}), {0, 0, 0.731057733});
  ExpectRow(RunRow("softpick", kX), {0.0773994897, 0, 0.762283748, 0});
  ExpectRow(RunRow("softpick", {0, 0, 0, 0}), {0, 0, 0, 0});
  ExpectRow(RunRow("softpick", {-1, -2, -3}), {0, 0, 0});
  ExpectRow(RunRow("softpick", {0.01f, -0.02f, 0.03f}), {0.166649931, 0, 0.504991205});
  ExpectRow(RunRow("softpick", {100, 90, -50}), {0.999953602, 4.53978233e-05, 0});
  ExpectRow(RunRow("softpick", {5}), {0.999998993});
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
    const RowResult row = RunRow("softpick", kX, {}, {}, one_hot);
    for (int j = 0; j < 4; ++j) EXPECT_NEAR(row.gradients.k[j], jacobian[j][i], 1e-7) << i << j;
  }
}

TEST(GoldenTest, Others) {
  ExpectRow(RunRow("softmax", kX), {.170074799, .0625670218, .762222366, .0051358139});
  ExpectRow(RunRow("softmax1", kX), {.154171181, .0567164079, .690947297, .00465556626});
  ExpectRow(RunRow("sink_logit", kX, {}, {1.0f}),
            {.132828811, .0488649888, .595297431, .00401108254});
  ExpectRow(RunRow("sink_logit", kX, {}, {0.0f}),
            {.154171181, .0567164079, .690947297, .00465556626});
  ExpectRow(RunRow("ssmax", kX, {}, {0.43f}), {.24269667, .133714351, .593461448, .0301275302});
  ExpectRow(RunRow("relu", kX), {.125, 0, .5, 0});
  ExpectRow(RunRow("relu2", kX), {.0625, 0, 1, 0});
  ExpectRow(RunRow("sigmoid", kX, {0.0f, 0.0f}), {.622459331, .377540669, .880797078, .0474258732});
  ExpectRow(RunRow("sigmoid", kX), {.291875133, .131667562, .648785644, .0122937497});
}

// e^0.5 - 1 = 0.648721271, e^2 - 1 = 6.389056099, 1 - e^-0.5 = 0.393469340, 1 - e^-3 = 0.950212932.
TEST(GoldenTest, Relatives) {
  const double a = 0.648721271, b = 0.393469340, c = 6.389056099, d = 0.950212932;
  ExpectRow(RunRow("relu_softmax", kX), {a / (a + c + 7.389e-6), 0, c / (a + c + 7.389e-6), 0});
  const double all = a + b + c + d + 7.389e-6;
  ExpectRow(RunRow("abs_softmax", kX), {a / all, b / all, c / all, d / all});
  const double two = 1.648721271 + 7.389056099;
  ExpectRow(RunRow("rectified_softmax", kX), {1.648721271 / two, 0, 7.389056099 / two, 0});
  ExpectRow(RunRow("rectified_softmax", {0, -1}), {1, 0});
  // a ln(t + 2) = 1 at t = 3 turns it into softpick.
  ExpectRow(RunRow("scaled_softpick", kX, {}, {0.62133493f}), {0.0773994897, 0, 0.762283748, 0});
  // 2 s - 0.5 - 0.25 distance, distances 3, 2, 1, 0.
  ExpectRow(RunRow("thresholded_relu", kX, {}, {2.0f, 0.5f, 0.25f}), {0, 0, 3.25, 0});
}

}  // namespace
}  // namespace attnlab::testing
