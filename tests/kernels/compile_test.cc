// Every variant's CUDA kernels compile: NVRTC needs no device. Skips where NVRTC is missing or the
// build has no CUDA headers.
#include <gtest/gtest.h>
#include <stdlib.h>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/runtime.h"
#include "kernels/weighting_info.h"

namespace attnlab::cuda {
namespace {

struct Target {
  const char* kernel;  // null: the best
  int arch;
  DType dtype;
  int64_t dim;
};

const Target kTargets[] = {{nullptr, 90, DType::kBFloat16, 64},
                           {"mma", 80, DType::kFloat16, 64},
                           {"oracle", 80, DType::kFloat32, 64}};

class CompileTest : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    setenv("ATTNLAB_KERNEL_CACHE", ATTNLAB_BINARY_DIR "/kernel_cache", /*overwrite=*/0);
    std::string error;
    if (GetNvrtc(error) == nullptr) GTEST_SKIP() << error;
  }

  static void ExpectCompiles(const Plan& plan) {
    EXPECT_FALSE(plan.instances.empty());
    for (const Instance& instance : plan.instances) {
      std::string error;
      EXPECT_FALSE(MachineCode(instance, error).empty()) << error;
    }
  }
};

TEST_P(CompileTest, Compiles) {
  for (const Target& target : kTargets) {
    SCOPED_TRACE(target.kernel == nullptr ? "best" : target.kernel);
    Problem problem;
    problem.weighting = GetParam();
    problem.shape = {1, 2, 1, 200, 200, target.dim, target.dim};
    problem.scale = 0.125f;
    problem.dtype = target.dtype;
    problem.kernel = target.kernel;
    ExpectCompiles(PlanFor(problem, target.arch));
    problem.shape.queries = 1;
    if (target.kernel == nullptr) ExpectCompiles(DecodePlan(problem, target.arch));
  }
}

INSTANTIATE_TEST_SUITE_P(Variants, CompileTest,
                         testing::Range(0, static_cast<int>(Weightings().size())),
                         [](const auto& info) {
                           return std::string(Weightings()[info.param].text.name);
                         });

}  // namespace
}  // namespace attnlab::cuda
