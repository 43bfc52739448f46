// One file makes a variant: the struct of own_variant.h, which no registry lists, goes through the
// same loops as the registered ones.
#include "tests/kernels/own_variant.h"

#include <gtest/gtest.h>

#include "kernels/cpu/blocked.h"
#include "tests/kernels/cases.h"

namespace attnlab::testing {
namespace {

constexpr auto kOps = baseline::MakeVariantOps<TemperedSoftmax>();

Subject OwnVariant() {
  const TemperedSoftmax variant;
  return {-1,
          {{"nothing", variant.nothing, ""}},
          {TemperedSoftmax::kLearned.begin(), TemperedSoftmax::kLearned.end()},
          [](const ForwardArgs& args) -> const char* {
            baseline::Forward(args, kOps);
            return nullptr;
          },
          [](const BackwardArgs& args) -> const char* {
            baseline::Backward(args, kOps);
            return nullptr;
          },
          ComputeTruthOf<TemperedSoftmax>};
}

TEST(OwnVariantTest, RunsThroughTheBlockedLoops) {
  for (const Case& test : {Case{"causal", {2, 4, 2, 150, 150, 20, 12}},
                           Case{"full", {1, 1, 1, 40, 70, 16, 16}, {.causal = false}}}) {
    SCOPED_TRACE(test.name);
    ExpectMatchesDense(OwnVariant(), test);
  }
}

TEST(OwnVariantTest, Decodes) {
  const Subject subject = OwnVariant();
  const Case test{"decode", {1, 2, 1, 1, 1300, 16, 16}};
  std::vector<int32_t> documents;
  const Tensors<float> x = MakeInputs(subject, test, 2);
  ForwardArgs args;
  static_cast<Problem&>(args) = MakeProblem(subject, test, MakeMask(test, documents), x);
  std::vector<float> out(2 * 16);
  args.out = MutableView(out.data(), 2, 1, 16);
  baseline::Decode(args, kOps);
  const auto [exact, plain] = subject.truth(args, x);
  ExpectClose("out", out, plain.out, exact.out, 0, 1e-6);
}

}  // namespace
}  // namespace attnlab::testing
