// Forward and backward of every variant against the dense computation in float64, on every
// instruction set of the machine.
#include <gtest/gtest.h>

#include "tests/kernels/cases.h"

namespace attnlab::testing {
namespace {

Shape SelfAttention(int64_t batch, int64_t heads, int64_t kv_heads, int64_t tokens, int64_t dim) {
  return {batch, heads, kv_heads, tokens, tokens, dim, dim};
}

std::vector<Case> Cases() {
  const Mask causal;
  const Mask full{.causal = false};
  return {
      {"one_token", SelfAttention(1, 1, 1, 1, 16), causal},
      {"one_tile", SelfAttention(2, 2, 2, 32, 32), causal},
      {"ragged_tile", SelfAttention(1, 2, 2, 37, 24), causal},
      {"many_tiles", SelfAttention(1, 1, 1, 300, 64), causal},
      {"many_tiles_full", SelfAttention(1, 1, 1, 200, 16), full},
      {"odd_dims", {1, 2, 1, 45, 45, 7, 19}, causal},
      {"grouped", SelfAttention(2, 6, 2, 70, 16), causal},
      {"one_key_head", SelfAttention(1, 4, 1, 50, 16), full},
      {"window", SelfAttention(1, 2, 2, 170, 16), {.window = 40}},
      {"window_and_first", SelfAttention(1, 2, 2, 290, 16), {.window = 33, .first_kept = 4}},
      {"later_queries", {1, 2, 2, 9, 150, 16, 16}, causal},
      {"documents", SelfAttention(2, 2, 2, 150, 16), causal, 1, 1, false},
      {"documents_full", SelfAttention(1, 2, 2, 90, 16), full, 1, 1, false},
      {"outliers", SelfAttention(1, 2, 2, 140, 32), causal, 20},
      {"tiny_scores", SelfAttention(1, 2, 2, 140, 32), causal, 1, 1e-3f},
  };
}

class AttentionTest : public EveryVariant {};
ATTNLAB_FOR_EVERY_VARIANT(AttentionTest);

TEST_P(AttentionTest, MatchesDense) {
  ForEachInstructionSet([&] {
    for (const Case& test : Cases()) {
      SCOPED_TRACE(test.name);
      ExpectMatchesDense(subject_, test);
    }
  });
}

TEST_P(AttentionTest, DecodeMatchesDense) {
  const Case cases[] = {
      {"one_query", {2, 4, 2, 1, 2500, 16, 16}},
      {"few_queries", {1, 6, 2, 3, 1100, 24, 9}},
      {"short", {1, 2, 2, 1, 1, 8, 8}},
      {"window", {1, 2, 2, 1, 1500, 16, 16}, {.window = 100, .first_kept = 4}},
  };
  for (const Case& test : cases) {
    SCOPED_TRACE(test.name);
    std::vector<int32_t> documents;
    const Tensors<float> x = MakeInputs(subject_, test, 3);
    const Problem problem = MakeProblem(subject_, test, MakeMask(test, documents), x);
    const auto [exact, plain] = subject_.truth(problem, x);
    ForEachInstructionSet([&, &exact = exact, &plain = plain] {
      ForwardArgs args;
      static_cast<Problem&>(args) = problem;
      std::vector<float> out(exact.out.size(), std::nanf(""));
      args.out =
          MutableView(out.data(), test.shape.heads, test.shape.queries, test.shape.value_dim);
      ASSERT_STREQ(Decode(args), nullptr);
      ExpectClose("out", out, plain.out, exact.out, 0, 1e-6);
    });
  }
}

}  // namespace
}  // namespace attnlab::testing
