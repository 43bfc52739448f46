// Attention problems for tests: shapes, masks and inputs with a name, and a launch of the kernels
// on them.
#pragma once

#include <functional>
#include <random>
#include <string>
#include <vector>

#include "kernels/weighting_info.h"
#include "kernels/bench/dense.h"

namespace attnlab::testing {

struct Case {
  std::string name;
  Shape shape;
  Mask mask = {};
  float outlier = 1.0f;       // one number in 50 of q and k is multiplied by it
  float query_scale = 1.0f;   // all of q
  bool same_document = true;  // else each sequence holds three documents
};

inline std::ostream& operator<<(std::ostream& stream, const Case& test) {
  return stream << test.name;
}

inline Tensors<float> MakeInputs(const Case& test, uint32_t seed) {
  const Shape& s = test.shape;
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  const auto fill = [&](std::vector<float>& x, int64_t count, float factor, float outlier) {
    x.resize(count);
    for (float& value : x) {
      value = normal(random) * factor * (random() % 50 == 0 ? outlier : 1.0f);
    }
  };
  Tensors<float> x;
  fill(x.q, s.batch * s.heads * s.queries * s.head_dim, test.query_scale, test.outlier);
  fill(x.k, s.batch * s.kv_heads * s.keys * s.head_dim, 1.0f, test.outlier);
  fill(x.v, s.batch * s.kv_heads * s.keys * s.value_dim, 1.0f, 1.0f);
  fill(x.out_grad, s.batch * s.heads * s.queries * s.value_dim, 1.0f, 1.0f);
  x.learned.resize(kMaxLearned * s.heads);
  return x;
}

// Each head's learned numbers near their first values, no two heads alike.
template <class Variant>
void SetLearned(int64_t heads, std::vector<float>& learned) {
  for (size_t p = 0; p < Variant::kLearned.size(); ++p) {
    for (int64_t h = 0; h < heads; ++h) {
      learned[p * heads + h] = InitialValue(Variant::kLearned[p], static_cast<int>(h)) +
                               0.125f * static_cast<float>(h + 1) / static_cast<float>(heads);
    }
  }
}

// The mask of `test`; `documents` keeps its ids alive.
inline Mask MakeMask(const Case& test, std::vector<int32_t>& documents) {
  const Shape& s = test.shape;
  Mask mask = test.mask;
  mask.query_offset = s.keys - s.queries;
  if (test.same_document) return mask;
  documents.assign(s.batch * (s.queries + s.keys), 0);
  int32_t* key_documents = documents.data() + s.batch * s.queries;
  for (int64_t b = 0; b < s.batch; ++b) {
    for (int64_t j = 0; j < s.keys; ++j) {
      key_documents[b * s.keys + j] = static_cast<int32_t>(3 * j / s.keys);
    }
    for (int64_t i = 0; i < s.queries; ++i) {
      documents[b * s.queries + i] = key_documents[b * s.keys + i + mask.query_offset];
    }
  }
  mask.query_documents = documents.data();
  mask.key_documents = key_documents;
  return mask;
}

// How a variant is launched: through the registry, or with functions of its own.
struct Launch {
  std::function<const char*(const ForwardArgs&)> forward = Forward;
  std::function<const char*(const BackwardArgs&)> backward = Backward;
};

template <class Result>
Result DenseView(const void* data, int64_t heads, int64_t rows, int64_t dim) {
  return {const_cast<void*>(data), heads * rows * dim, rows * dim, dim};
}
template <>
inline Operand DenseView<Operand>(const void* data, int64_t heads, int64_t rows, int64_t dim) {
  return {data, heads * rows * dim, rows * dim, dim};
}

// What forward and backward share, on dense float32 tensors. The variant's constants are defaults.
template <class Variant>
Problem MakeProblem(const Case& test, const Mask& mask, const Tensors<float>& x) {
  const Shape& s = test.shape;
  Problem problem;
  problem.weighting = FindWeighting(Variant::kText.name).value_or(-1);
  int i = 0;
  Variant().ForEach([&](const char*, float value, const char*) { problem.constants[i++] = value; });
  for (int p = 0; p < kMaxLearned; ++p) problem.learned[p] = x.learned.data() + p * s.heads;
  problem.shape = s;
  problem.mask = mask;
  problem.scale = 1.0f / std::sqrt(static_cast<float>(s.head_dim));
  problem.q = DenseView<Operand>(x.q.data(), s.heads, s.queries, s.head_dim);
  problem.k = DenseView<Operand>(x.k.data(), s.kv_heads, s.keys, s.head_dim);
  problem.v = DenseView<Operand>(x.v.data(), s.kv_heads, s.keys, s.value_dim);
  return problem;
}

// Runs forward and backward on `problem`, outputs poisoned first.
inline Gradients<float> RunKernels(const Launch& launch, const Problem& problem,
                                   const Tensors<float>& x) {
  const Shape& s = problem.shape;
  const float poison = std::nanf("");
  Gradients<float> result;
  result.out.assign(s.batch * s.heads * s.queries * s.value_dim, poison);
  result.q.assign(x.q.size(), poison);
  result.k.assign(x.k.size(), poison);
  result.v.assign(x.v.size(), poison);
  result.learned.assign(kMaxLearned * s.heads, 0.0f);
  std::vector<float> shift(s.batch * s.heads * s.queries, poison), denominator = shift;

  ForwardArgs forward;
  static_cast<Problem&>(forward) = problem;
  forward.out = DenseView<Result>(result.out.data(), s.heads, s.queries, s.value_dim);
  forward.shift = shift.data();
  forward.denominator = denominator.data();
  EXPECT_STREQ(launch.forward(forward), nullptr);

  BackwardArgs backward;
  static_cast<Problem&>(backward) = problem;
  backward.out = DenseView<Operand>(result.out.data(), s.heads, s.queries, s.value_dim);
  backward.out_grad = DenseView<Operand>(x.out_grad.data(), s.heads, s.queries, s.value_dim);
  backward.shift = shift.data();
  backward.denominator = denominator.data();
  backward.q_grad = DenseView<Result>(result.q.data(), s.heads, s.queries, s.head_dim);
  backward.k_grad = DenseView<Result>(result.k.data(), s.kv_heads, s.keys, s.head_dim);
  backward.v_grad = DenseView<Result>(result.v.data(), s.kv_heads, s.keys, s.value_dim);
  for (int p = 0; p < kMaxLearned; ++p) {
    backward.learned_grad[p] = result.learned.data() + p * s.heads;
  }
  EXPECT_STREQ(launch.backward(backward), nullptr);
  return result;
}

// Expects max |got - truth| <= 2 max |naive - truth| + slack max(|truth|, terms), all numbers
// finite. `terms` is the size of what cancels in the truth.
inline void ExpectAsGoodAsNaive(const char* what, const std::vector<float>& got,
                                const std::vector<float>& naive, const std::vector<double>& truth,
                                double terms, double slack) {
  ASSERT_EQ(got.size(), truth.size());
  double worst = 0, allowed = 0, largest = terms;
  size_t at = 0;
  for (size_t i = 0; i < truth.size(); ++i) {
    ASSERT_TRUE(std::isfinite(got[i])) << what << " [" << i << "] is " << got[i];
    const double error = std::abs(got[i] - truth[i]);
    if (error > worst) at = i;
    worst = std::max(worst, error);
    allowed = std::max(allowed, 2 * std::abs(naive[i] - truth[i]));
    largest = std::max(largest, std::abs(truth[i]));
  }
  if (worst > allowed + slack * largest + 1e-30) {
    ADD_FAILURE() << what << " [" << at << "]: " << got[at] << " instead of " << truth[at]
                  << ", error " << worst << " where plain float32 has " << allowed / 2
                  << " and the largest term is " << largest;
  }
}

// Holds forward and backward of a variant on `test` against the dense computation in float64.
template <class Variant>
void ExpectMatchesDense(const Launch& launch, const Case& test, double slack = 1e-6) {
  std::vector<int32_t> documents;
  const Mask mask = MakeMask(test, documents);
  Tensors<float> x = MakeInputs(test, 7);
  SetLearned<Variant>(test.shape.heads, x.learned);
  const Problem problem = MakeProblem<Variant>(test, mask, x);
  const Gradients<float> got = RunKernels(launch, problem, x);
  const Gradients<float> naive = RunDense(Variant(), problem, x);
  const Gradients<double> truth = RunDense(Variant(), problem, Convert<double>(x));
  ExpectAsGoodAsNaive("out", got.out, naive.out, truth.out, 0, slack);
  ExpectAsGoodAsNaive("dQ", got.q, naive.q, truth.q, truth.terms, slack);
  ExpectAsGoodAsNaive("dK", got.k, naive.k, truth.k, truth.terms, slack);
  ExpectAsGoodAsNaive("dV", got.v, naive.v, truth.v, 0, slack);
  ExpectAsGoodAsNaive("learned", got.learned, naive.learned, truth.learned, truth.learned_terms,
                      slack);
}

}  // namespace attnlab::testing
