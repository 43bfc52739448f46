// Every implementation of every variant of the registry: outputs and all gradients against the
// float64 definition (dense.h) on small problems, and against the float64 reference on problems of
// several blocks.
#include "libs/attention/op.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/attention/dense.h"
#include "tests/attention/run.h"

namespace attnlab {
namespace {

struct Case {
  const char* name;
  Dimensions dimensions;
  bool causal = true;
  int64_t window = 0;
  int64_t first_kept = 0;
};

const Case kSmall[] = {
    {"OneToken", {2, 2, 2, 1, 1, 3, 2}},         {"Causal", {2, 2, 2, 6, 6, 3, 4}},
    {"GroupedContinued", {2, 4, 2, 5, 7, 3, 2}}, {"Whole", {1, 2, 1, 4, 6, 3, 3}, false},
    {"Window", {1, 2, 2, 8, 8, 3, 2}, true, 3},  {"WindowKept", {1, 2, 1, 7, 9, 3, 2}, true, 3, 2},
};

const Case kLarge[] = {
    {"Causal", {2, 2, 2, 150, 150, 16, 16}},
    {"GroupedContinued", {1, 4, 2, 70, 133, 32, 32}},
    {"Whole", {1, 2, 2, 130, 77, 64, 48}, false},
    {"Window", {1, 2, 1, 200, 200, 16, 16}, true, 70},
    {"WindowKept", {1, 1, 1, 140, 140, 16, 16}, true, 33, 4},
};

// An implementation in a dtype, and how near it must come.
struct Path {
  const char* name;
  std::string implementation;
  at::ScalarType type;
  double out_tolerance;
  double grad_tolerance;
};

const Path kPaths[] = {
    {"Reference64", "reference", at::kDouble, 1e-7, 1e-6},
    {"Reference32", "reference", at::kFloat, 2e-6, 2e-5},
    {"Blocked64", "blocked", at::kDouble, 1e-7, 1e-6},
    {"Blocked32", "blocked", at::kFloat, 2e-6, 2e-5},
    {"Kernel32", "kernel", at::kFloat, 2e-6, 2e-5},
};

AttentionOptions OptionsOf(const std::string& weighting, const Case& c) {
  AttentionOptions options;
  options.weighting = weighting;
  options.causal = c.causal;
  options.window = c.window;
  options.first_kept = c.first_kept;
  return options;
}

// The definition differentiates an epsilon in units of e^m through m, the backward takes m for a
// constant: the two differ by the epsilon itself.
void MakeEpsilonSmall(AttentionOptions& options) {
  options.constants["epsilon"] = 1e-10;
  if (!Validate(options).ok()) options.constants.clear();
}

void ExpectNear(const Results& run, const at::Tensor& out, const std::vector<at::Tensor>& grads,
                const Path& path) {
  EXPECT_LT(Distance(run.out, out), path.out_tolerance);
  ASSERT_EQ(run.grads.size(), grads.size());
  for (size_t i = 0; i < grads.size(); ++i) {
    EXPECT_LT(Distance(run.grads[i], grads[i]), path.grad_tolerance)
        << "gradient " << i << " of q, k, v, learned...";
  }
}

class RegistryTest : public testing::TestWithParam<std::string> {};

TEST_P(RegistryTest, AgreesWithTheDefinition) {
  for (const Case& c : kSmall) {
    AttentionOptions options = OptionsOf(GetParam(), c);
    MakeEpsilonSmall(options);
    ASSERT_TRUE(Validate(options).ok());
    const Operands operands = RandomOperands(c.dimensions, options, /*sharpness=*/2);
    const at::Tensor out = DenseAttention(operands, options);
    const std::vector<at::Tensor> grads = DenseGradients(operands, options);
    for (const Path& path : kPaths) {
      SCOPED_TRACE(std::string(c.name) + " " + path.name);
      options.implementation = path.implementation;
      ExpectNear(RunWithGradients(operands.To(path.type, at::kCPU, true), options), out, grads,
                 path);
    }
  }
}

TEST_P(RegistryTest, BlocksAgreeWithTheReference) {
  for (const Case& c : kLarge) {
    AttentionOptions options = OptionsOf(GetParam(), c);
    const Operands operands = RandomOperands(c.dimensions, options, /*sharpness=*/3, /*seed=*/2);
    options.implementation = "reference";
    const Results expected = RunWithGradients(operands.To(at::kDouble, at::kCPU, true), options);
    for (const Path& path : kPaths) {
      if (path.implementation == options.implementation) continue;
      SCOPED_TRACE(std::string(c.name) + " " + path.name);
      AttentionOptions ours = options;
      ours.implementation = path.implementation;
      ExpectNear(RunWithGradients(operands.To(path.type, at::kCPU, true), ours), expected.out,
                 expected.grads, path);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Variants, RegistryTest, testing::ValuesIn(WeightingNames()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace attnlab
