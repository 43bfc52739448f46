#include "tests/kernels/cases.h"

#include <cmath>
#include <random>

#include "kernels/dispatch.h"

namespace attnlab::testing {

Subject Registered(int weighting) {
  const WeightingInfo& info = Weightings()[weighting];
  return {weighting,
          info.constants,
          info.learned,
          Forward,
          Backward,
          [](const Problem& problem, const Tensors<float>& x) { return ComputeTruth(problem, x); }};
}

Subject Registered(const std::string& name) { return Registered(FindWeighting(name).value()); }

Tensors<float> MakeInputs(const Subject& subject, const Case& test, uint32_t seed) {
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
  // Near the first values, no two heads alike.
  for (size_t p = 0; p < subject.learned.size(); ++p) {
    for (int64_t h = 0; h < s.heads; ++h) {
      x.learned[p * s.heads + h] = InitialValue(subject.learned[p], static_cast<int>(h)) +
                                   0.125f * static_cast<float>(h + 1) / static_cast<float>(s.heads);
    }
  }
  return x;
}

Mask MakeMask(const Case& test, std::vector<int32_t>& documents) {
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

Operand View(const void* data, int64_t heads, int64_t rows, int64_t dim) {
  return {data, heads * rows * dim, rows * dim, dim};
}

Result MutableView(void* data, int64_t heads, int64_t rows, int64_t dim) {
  return {data, heads * rows * dim, rows * dim, dim};
}

Problem MakeProblem(const Subject& subject, const Case& test, const Mask& mask,
                    const Tensors<float>& x) {
  const Shape& s = test.shape;
  Problem problem;
  problem.weighting = subject.weighting;
  for (size_t i = 0; i < subject.constants.size(); ++i) {
    problem.constants[i] = subject.constants[i].value;
  }
  for (int p = 0; p < kMaxLearned; ++p) problem.learned[p] = x.learned.data() + p * s.heads;
  problem.shape = s;
  problem.mask = mask;
  problem.scale = 1.0f / std::sqrt(static_cast<float>(s.head_dim));
  problem.q = View(x.q.data(), s.heads, s.queries, s.head_dim);
  problem.k = View(x.k.data(), s.kv_heads, s.keys, s.head_dim);
  problem.v = View(x.v.data(), s.kv_heads, s.keys, s.value_dim);
  return problem;
}

Gradients<float> RunKernels(const Subject& subject, const Problem& problem,
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
  forward.out = MutableView(result.out.data(), s.heads, s.queries, s.value_dim);
  forward.shift = shift.data();
  forward.denominator = denominator.data();
  EXPECT_STREQ(subject.forward(forward), nullptr);

  BackwardArgs backward;
  static_cast<Problem&>(backward) = problem;
  backward.out = View(result.out.data(), s.heads, s.queries, s.value_dim);
  backward.out_grad = View(x.out_grad.data(), s.heads, s.queries, s.value_dim);
  backward.shift = shift.data();
  backward.denominator = denominator.data();
  backward.q_grad = MutableView(result.q.data(), s.heads, s.queries, s.head_dim);
  backward.k_grad = MutableView(result.k.data(), s.kv_heads, s.keys, s.head_dim);
  backward.v_grad = MutableView(result.v.data(), s.kv_heads, s.keys, s.value_dim);
  for (int p = 0; p < kMaxLearned; ++p) {
    backward.learned_grad[p] = result.learned.data() + p * s.heads;
  }
  EXPECT_STREQ(subject.backward(backward), nullptr);
  return result;
}

void ExpectClose(const char* what, const std::vector<float>& got, const std::vector<float>& plain,
                 const std::vector<double>& exact, double terms, double slack) {
  ASSERT_EQ(got.size(), exact.size());
  const Deviation deviation = Compare(got, plain, exact, terms, slack);
  EXPECT_FALSE(deviation.TooLarge())
      << what << " [" << deviation.at << "]: " << got[deviation.at] << " instead of "
      << exact[deviation.at] << ", error " << deviation.worst << ", allowed " << deviation.allowed;
}

void ExpectMatchesDense(const Subject& subject, const Problem& problem, const Tensors<float>& x,
                        double slack) {
  const Gradients<float> got = RunKernels(subject, problem, x);
  const auto [exact, plain] = subject.truth(problem, x);
  ExpectClose("out", got.out, plain.out, exact.out, 0, slack);
  ExpectClose("dQ", got.q, plain.q, exact.q, exact.terms, slack);
  ExpectClose("dK", got.k, plain.k, exact.k, exact.terms, slack);
  ExpectClose("dV", got.v, plain.v, exact.v, 0, slack);
  ExpectClose("learned", got.learned, plain.learned, exact.learned, exact.learned_terms, slack);
}

void ExpectMatchesDense(const Subject& subject, const Case& test) {
  std::vector<int32_t> documents;
  const Mask mask = MakeMask(test, documents);
  const Tensors<float> x = MakeInputs(subject, test, 7);
  ExpectMatchesDense(subject, MakeProblem(subject, test, mask, x), x);
}

void EveryVariant::ForEachInstructionSet(const std::function<void()>& body) {
  for (const char* name : InstructionSets()) {
    SCOPED_TRACE(name);
    ASSERT_TRUE(UseInstructionSet(name));
    body();
  }
  UseInstructionSet(InstructionSets()[0]);
}

}  // namespace attnlab::testing
