// The optimizer and the schedule against their formulas, written out in float64.

#include <ATen/Context.h>
#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "libs/core/rng.h"
#include "libs/optim/optimizer.h"
#include "libs/optim/schedule.h"

namespace attnlab {
namespace {

at::Tensor Random(const std::string& name, at::IntArrayRef shape, at::ScalarType dtype) {
  at::Tensor values = at::empty(shape, at::kDouble);
  Rng rng(6, name);
  for (int64_t i = 0; i < values.numel(); ++i) {
    values.mutable_data_ptr<double>()[i] = rng.Normal();
  }
  return values.to(dtype);
}

NamedTensors Parameters(at::ScalarType dtype) {
  return {{"matrix", Random("matrix", {7, 5}, dtype).requires_grad_()},
          {"norm", Random("norm", {5}, dtype).requires_grad_()}};
}

void SetGradients(const NamedTensors& parameters, int step) {
  for (const auto& [name, parameter] : parameters) {
    parameter.mutable_grad() =
        Random(name + std::to_string(step), parameter.sizes(), parameter.scalar_type());
  }
}

std::vector<double> Numbers(const at::Tensor& tensor) {
  const at::Tensor exact = tensor.detach().to(at::kDouble).contiguous();
  return {exact.const_data_ptr<double>(), exact.const_data_ptr<double>() + exact.numel()};
}

// AdamW with clipping, number by number.
struct Reference {
  std::vector<std::vector<double>> values, means, squares;
  int steps = 0;

  double Step(const OptimizerConfig& c, const std::vector<std::vector<double>>& gradients,
              const std::vector<bool>& decays, double rate) {
    double norm = 0;
    for (const auto& g : gradients)
      for (const double x : g) norm += x * x;
    norm = std::sqrt(norm);
    const double factor = c.clip > 0 && norm > c.clip ? c.clip / norm : 1;
    ++steps;
    means.resize(values.size());
    squares.resize(values.size());
    for (size_t p = 0; p < values.size(); ++p) {
      means[p].resize(values[p].size());
      squares[p].resize(values[p].size());
      for (size_t i = 0; i < values[p].size(); ++i) {
        const double g = gradients[p][i] * factor;
        double &m = means[p][i], &v = squares[p][i], &w = values[p][i];
        m = c.beta1 * m + (1 - c.beta1) * g;
        v = c.beta2 * v + (1 - c.beta2) * g * g;
        const double corrected = std::sqrt(v / (1 - std::pow(c.beta2, steps))) + c.eps;
        if (decays[p]) w *= 1 - rate * c.weight_decay;
        w -= rate * m / (1 - std::pow(c.beta1, steps)) / corrected;
      }
    }
    return norm;
  }
};

struct Case {
  at::ScalarType dtype;
  double tolerance;
  std::string decay;
  double clip, eps;
};

TEST(AdamW, AgreesWithItsFormula) {
  const Case cases[] = {{at::kDouble, 1e-12, "all", 1.0, 1e-8},
                        {at::kDouble, 1e-12, "matrices", 0, 1e-15},
                        {at::kFloat, 2e-6, "all", 0.5, 1e-8},
                        {at::kFloat, 2e-6, "matrices", 100, 1e-6}};
  for (const Case& test : cases) {
    OptimizerConfig config;
    config.decay = test.decay;
    config.clip = test.clip;
    config.eps = test.eps;
    const NamedTensors parameters = Parameters(test.dtype);
    AdamW optimizer(config, parameters);
    Reference reference;
    for (const auto& [name, tensor] : parameters) reference.values.push_back(Numbers(tensor));
    for (int step = 0; step < 6; ++step) {
      SetGradients(parameters, step);
      std::vector<std::vector<double>> gradients;
      for (const auto& [name, tensor] : parameters) gradients.push_back(Numbers(tensor.grad()));
      const double rate = 0.05 / (step + 1);
      const StepResult result = optimizer.Step(rate);
      const double norm = reference.Step(config, gradients, {true, test.decay == "all"}, rate);
      EXPECT_TRUE(result.applied);
      EXPECT_NEAR(result.gradient_norm, norm, 1e-6 * norm);
      for (size_t p = 0; p < parameters.size(); ++p) {
        const std::vector<double> made = Numbers(parameters[p].second);
        for (size_t i = 0; i < made.size(); ++i) {
          ASSERT_NEAR(made[i], reference.values[p][i], test.tolerance)
              << parameters[p].first << " " << i << " step " << step;
        }
      }
    }
    EXPECT_EQ(optimizer.steps(), 6);
  }
}

TEST(AdamWOnGpu, AgreesWithCpu) {
  if (!at::hasCUDA()) GTEST_SKIP() << "LibTorch sees no GPU";
  const NamedTensors parameters = Parameters(at::kFloat);
  NamedTensors on_gpu;
  for (const auto& [name, tensor] : parameters) {
    on_gpu.emplace_back(name, tensor.detach().cuda().requires_grad_());
  }
  AdamW cpu({}, parameters), gpu({}, on_gpu);
  for (int step = 0; step < 4; ++step) {
    SetGradients(parameters, step);
    for (size_t i = 0; i < on_gpu.size(); ++i) {
      on_gpu[i].second.mutable_grad() = parameters[i].second.grad().cuda();
    }
    const double norm = cpu.Step(0.05).gradient_norm;
    EXPECT_NEAR(gpu.Step(0.05).gradient_norm, norm, 1e-5 * norm);
  }
  for (size_t i = 0; i < on_gpu.size(); ++i) {
    EXPECT_LT((on_gpu[i].second.cpu() - parameters[i].second).abs().max().item<double>(), 1e-5);
  }
  EXPECT_TRUE(gpu.LoadState(cpu.State()).ok());
}

TEST(AdamW, SkipsAStepThatIsNotFinite) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    const NamedTensors parameters = Parameters(at::kFloat);
    AdamW optimizer({}, parameters);
    SetGradients(parameters, 0);
    optimizer.Step(0.1);
    const at::Tensor before = parameters[0].second.detach().clone();
    const at::Tensor mean = optimizer.State()[0].second.clone();
    SetGradients(parameters, 1);
    parameters[1].second.mutable_grad()[2] = bad;
    const StepResult result = optimizer.Step(0.1);
    EXPECT_FALSE(result.applied);
    EXPECT_FALSE(std::isfinite(result.gradient_norm));
    EXPECT_EQ(optimizer.steps(), 1);
    EXPECT_TRUE(at::equal(parameters[0].second, before));
    EXPECT_TRUE(at::equal(optimizer.State()[0].second, mean));
  }
}

TEST(AdamW, LeavesParametersWithoutGradientAlone) {
  const NamedTensors parameters = Parameters(at::kFloat);
  AdamW optimizer({}, parameters);
  const at::Tensor before = parameters[1].second.detach().clone();
  SetGradients({parameters[0]}, 0);
  EXPECT_TRUE(optimizer.Step(0.1).applied);
  EXPECT_TRUE(at::equal(parameters[1].second, before));
  optimizer.ZeroGrad();
  EXPECT_FALSE(parameters[0].second.grad().defined());
}

TEST(AdamW, ContinuesBitForBitFromItsState) {
  const NamedTensors parameters = Parameters(at::kFloat);
  AdamW optimizer({}, parameters);
  for (int step = 0; step < 3; ++step) {
    SetGradients(parameters, step);
    optimizer.Step(0.1);
  }
  NamedTensors copies, state;
  for (const auto& [name, tensor] : parameters) {
    copies.emplace_back(name, tensor.detach().clone().requires_grad_());
  }
  for (const auto& [name, tensor] : optimizer.State()) state.emplace_back(name, tensor.clone());
  AdamW resumed({}, copies);
  ASSERT_TRUE(resumed.LoadState(state).ok());
  EXPECT_EQ(resumed.steps(), 3);
  SetGradients(parameters, 9);
  SetGradients(copies, 9);
  optimizer.Step(0.1);
  resumed.Step(0.1);
  for (size_t i = 0; i < copies.size(); ++i) {
    EXPECT_TRUE(at::equal(copies[i].second, parameters[i].second));
  }
}

TEST(AdamW, RejectsAStateOfAnotherModel) {
  AdamW optimizer({}, Parameters(at::kFloat));
  const NamedTensors good = optimizer.State();
  const auto load = [&](auto change) {
    NamedTensors state = good;
    change(state);
    return std::string(optimizer.LoadState(state).message());
  };
  using testing::HasSubstr;
  EXPECT_EQ(load([](NamedTensors&) {}), "");
  EXPECT_THAT(load([](NamedTensors& s) { s.pop_back(); }), HasSubstr("tensor step is missing"));
  EXPECT_THAT(load([](NamedTensors& s) { s.emplace_back("exp_avg.x", at::zeros({1})); }),
              HasSubstr("exp_avg.x is not known"));
  EXPECT_THAT(load([](NamedTensors& s) {
                s[0].second = at::zeros({7, 6});
              }),
              HasSubstr("exp_avg.matrix is Float [7, 6], but the model makes it Float [7, 5]"));
  EXPECT_THAT(load([](NamedTensors& s) { s[1].second = at::zeros({5}, at::kInt); }),
              HasSubstr("exp_avg.norm is Int"));
  EXPECT_THAT(load([](NamedTensors& s) { s.back().second = at::full({}, -1, at::kLong); }),
              HasSubstr("step is -1"));
}

TEST(ClipGradients, ReturnsTheNormBefore) {
  const NamedTensors parameters = Parameters(at::kFloat);
  for (const auto& [name, parameter] : parameters) {
    parameter.mutable_grad() = at::full_like(parameter, 2);
  }
  const double norm = 2 * std::sqrt(40);
  EXPECT_NEAR(ClipGradients(parameters, 0), norm, 1e-5);
  EXPECT_NEAR(ClipGradients(parameters, 1), norm, 1e-5);
  EXPECT_NEAR(ClipGradients(parameters, 3), 1, 1e-6);
  EXPECT_NEAR(ClipGradients(parameters, 3), 1, 1e-6);
}

TEST(OptimizerConfig, NamesTheFieldThatIsWrong) {
  OptimizerConfig config;
  EXPECT_TRUE(Validate(config).ok());
  config.beta2 = 1;
  EXPECT_THAT(std::string(Validate(config).message()), testing::HasSubstr("beta2 = 1"));
  config = {};
  config.decay = "some";
  EXPECT_THAT(std::string(Validate(config).message()), testing::HasSubstr("decay = \"some\""));
}

TEST(Schedule, WarmsUpThenFollowsACosine) {
  ScheduleConfig config;
  config.peak = 3e-4;
  config.warmup = 10;
  const int64_t steps = 110;
  EXPECT_DOUBLE_EQ(LearningRate(config, 0, steps), 3e-4 / 11);
  EXPECT_DOUBLE_EQ(LearningRate(config, 9, steps), 3e-4 * 10 / 11);
  // p = (t + 1 - W) / (N - W + 1) = 1/101, 51/101 and 100/101.
  EXPECT_DOUBLE_EQ(LearningRate(config, 10, steps),
                   3e-4 * (0.1 + 0.45 * (1 + std::cos(M_PI / 101))));
  EXPECT_DOUBLE_EQ(LearningRate(config, 60, steps),
                   3e-4 * (0.1 + 0.45 * (1 + std::cos(M_PI * 51 / 101))));
  EXPECT_DOUBLE_EQ(LearningRate(config, 109, steps),
                   3e-4 * (0.1 + 0.45 * (1 + std::cos(M_PI * 100 / 101))));
  EXPECT_NEAR(LearningRate(config, 5000, steps), 3e-5, 1e-12);
}

TEST(Schedule, ConstantAndNoWarmup) {
  ScheduleConfig config;
  config.shape = "constant";
  config.warmup = 0;
  for (const int64_t step : {0, 5, 99}) EXPECT_EQ(LearningRate(config, step, 100), config.peak);
}

TEST(Schedule, NamesTheFieldThatIsWrong) {
  ScheduleConfig config;
  EXPECT_TRUE(Validate(config, 1000).ok());
  config.warmup = 2000;
  EXPECT_THAT(std::string(Validate(config, 1000).message()), testing::HasSubstr("warmup = 2000"));
  config = {};
  config.shape = "cosin";
  EXPECT_THAT(std::string(Validate(config, 1000).message()), testing::HasSubstr("\"cosin\""));
  config = {};
  config.peak = -1;
  EXPECT_THAT(std::string(Validate(config, 1000).message()), testing::HasSubstr("peak = -1"));
  config = {};
  config.floor = 2;
  EXPECT_THAT(std::string(Validate(config, 1000).message()), testing::HasSubstr("floor = 2"));
}

}  // namespace
}  // namespace attnlab
