#include "kernels/bench/bench.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <random>

#include "kernels/bench/oracle.h"
#include "kernels/weighting_info.h"

namespace attnlab {
namespace {

std::vector<float> RandomNumbers(int64_t count, std::mt19937& random) {
  std::normal_distribution<float> normal;
  std::vector<float> numbers(count);
  for (float& number : numbers) number = normal(random);
  return numbers;
}

Operand View(const std::vector<float>& x, int64_t heads, int64_t rows, int64_t dim) {
  return {x.data(), heads * rows * dim, rows * dim, dim};
}
Result MutableView(std::vector<float>& x, int64_t heads, int64_t rows, int64_t dim) {
  return {x.data(), heads * rows * dim, rows * dim, dim};
}

}  // namespace

BenchProblem::BenchProblem(int weighting, const Shape& shape, bool causal) {
  std::mt19937 random(1);
  const Shape& s = shape;
  q = RandomNumbers(s.batch * s.heads * s.queries * s.head_dim, random);
  k = RandomNumbers(s.batch * s.kv_heads * s.keys * s.head_dim, random);
  v = RandomNumbers(s.batch * s.kv_heads * s.keys * s.value_dim, random);
  out_grad = RandomNumbers(s.batch * s.heads * s.queries * s.value_dim, random);
  out.resize(out_grad.size());
  q_grad.resize(q.size());
  k_grad.resize(k.size());
  v_grad.resize(v.size());
  shift_.resize(s.batch * s.heads * s.queries);
  denominator_.resize(shift_.size());
  learned_.resize(kMaxLearned * s.heads);
  learned_grad_.resize(kMaxLearned * s.heads);
  const auto& learned = Weightings()[weighting].learned;
  for (size_t p = 0; p < learned.size(); ++p) {
    for (int h = 0; h < s.heads; ++h) learned_[p * s.heads + h] = InitialValue(learned[p], h);
  }

  forward.weighting = weighting;
  SetDefaultConstants(forward);
  for (int p = 0; p < kMaxLearned; ++p) forward.learned[p] = &learned_[p * s.heads];
  forward.shape = shape;
  forward.mask.causal = causal;
  forward.mask.query_offset = s.keys - s.queries;
  forward.scale = 1.0f / std::sqrt(static_cast<float>(s.head_dim));
  forward.q = View(q, s.heads, s.queries, s.head_dim);
  forward.k = View(k, s.kv_heads, s.keys, s.head_dim);
  forward.v = View(v, s.kv_heads, s.keys, s.value_dim);
  forward.out = MutableView(out, s.heads, s.queries, s.value_dim);
  forward.shift = shift_.data();
  forward.denominator = denominator_.data();

  static_cast<Problem&>(backward) = forward;
  backward.out = View(out, s.heads, s.queries, s.value_dim);
  backward.out_grad = View(out_grad, s.heads, s.queries, s.value_dim);
  backward.shift = shift_.data();
  backward.denominator = denominator_.data();
  backward.q_grad = MutableView(q_grad, s.heads, s.queries, s.head_dim);
  backward.k_grad = MutableView(k_grad, s.kv_heads, s.keys, s.head_dim);
  backward.v_grad = MutableView(v_grad, s.kv_heads, s.keys, s.value_dim);
  for (int p = 0; p < kMaxLearned; ++p) backward.learned_grad[p] = &learned_grad_[p * s.heads];
}

double BenchProblem::ForwardFlops() const {
  const Shape& s = forward.shape;
  double pairs = 0;
  for (int64_t i = 0; i < s.queries; ++i) pairs += forward.mask.CountVisible(i, s.keys);
  return 2.0 * s.batch * s.heads * pairs * (s.head_dim + s.value_dim);
}

std::string CheckKernels(int weighting, Shape shape, bool causal) {
  shape.batch = 1;
  shape.queries = shape.keys = std::min<int64_t>(shape.keys, 300);
  BenchProblem problem(weighting, shape, causal);
  if (const char* wrong = Forward(problem.forward)) return wrong;
  if (const char* wrong = Backward(problem.backward)) return wrong;
  Tensors<float> x{problem.q, problem.k, problem.v, problem.out_grad, {}};
  x.learned.assign(problem.forward.learned[0],
                   problem.forward.learned[0] + kMaxLearned * shape.heads);
  const auto [exact, plain] = ComputeTruth(problem.forward, x);
  const struct {
    const char* what;
    Deviation deviation;
  } results[] = {
      {"out", Compare(problem.out, plain.out, exact.out, 0)},
      {"dQ", Compare(problem.q_grad, plain.q, exact.q, exact.terms)},
      {"dK", Compare(problem.k_grad, plain.k, exact.k, exact.terms)},
      {"dV", Compare(problem.v_grad, plain.v, exact.v, 0)},
  };
  for (const auto& [what, deviation] : results) {
    if (!deviation.TooLarge()) continue;
    return std::string(what) + " is off by " + std::to_string(deviation.worst) + ", allowed is " +
           std::to_string(deviation.allowed);
  }
  return "";
}

std::vector<double> TimeInTurns(int runs, const std::vector<std::function<void()>>& bodies) {
  std::vector<std::vector<double>> times(bodies.size());
  for (int run = 0; run <= runs; ++run) {
    for (size_t i = 0; i < bodies.size(); ++i) {
      const auto start = std::chrono::steady_clock::now();
      bodies[i]();
      const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
      if (run > 0) times[i].push_back(elapsed.count());
    }
  }
  std::vector<double> middles;
  for (std::vector<double>& of_body : times) {
    std::nth_element(of_body.begin(), of_body.begin() + of_body.size() / 2, of_body.end());
    middles.push_back(of_body[of_body.size() / 2]);
  }
  return middles;
}

}  // namespace attnlab
