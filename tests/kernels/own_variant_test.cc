// One file makes a variant: the struct of own_variant.h, which no registry lists, goes through the
// same loops as the registered ones.
#include "tests/kernels/own_variant.h"

#include <gtest/gtest.h>

#include "kernels/cpu/blocked.h"
#include "tests/kernels/cases.h"

namespace attnlab::testing {
namespace {

TEST(OwnVariantTest, RunsThroughTheBlockedLoops) {
  static constexpr auto kOps = baseline::MakeVariantOps<TemperedSoftmax>();
  const Launch launch{[](const ForwardArgs& args) -> const char* {
                        baseline::Forward(args, kOps);
                        return nullptr;
                      },
                      [](const BackwardArgs& args) -> const char* {
                        baseline::Backward(args, kOps);
                        return nullptr;
                      }};
  for (const Case& test : {Case{"causal", {2, 4, 2, 150, 150, 20, 12}},
                           Case{"full", {1, 1, 1, 40, 70, 16, 16}, {.causal = false}}}) {
    SCOPED_TRACE(test.name);
    ExpectMatchesDense<TemperedSoftmax>(launch, test);
  }
}

TEST(OwnVariantTest, Decodes) {
  static constexpr auto kOps = baseline::MakeVariantOps<TemperedSoftmax>();
  const Case test{"decode", {1, 2, 1, 1, 1300, 16, 16}};
  std::vector<int32_t> documents;
  Tensors<float> x = MakeInputs(test, 2);
  SetLearned<TemperedSoftmax>(2, x.learned);
  ForwardArgs args;
  static_cast<Problem&>(args) = MakeProblem<TemperedSoftmax>(test, MakeMask(test, documents), x);
  std::vector<float> out(2 * 16);
  args.out = DenseView<Result>(out.data(), 2, 1, 16);
  baseline::Decode(args, kOps);
  ExpectAsGoodAsNaive("out", out, RunDense(TemperedSoftmax(), args, x).out,
                      RunDense(TemperedSoftmax(), args, Convert<double>(x)).out, 0, 1e-6);
}

}  // namespace
}  // namespace attnlab::testing
