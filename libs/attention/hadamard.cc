#include "libs/attention/hadamard.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <vector>

namespace attnlab {
namespace {

bool IsPrime(int64_t n) {
  if (n < 2) return false;
  for (int64_t d = 2; d * d <= n; ++d) {
    if (n % d == 0) return false;
  }
  return true;
}

// Paley's first construction, entries +-1: I + [[0, 1], [-1, Q]] with Q_ij = 1 where j - i is a
// square modulo q and -1 where it is none.
at::Tensor PaleyMatrix(int64_t m) {
  const int64_t q = m - 1;
  std::vector<bool> square(q, false);
  for (int64_t i = 1; i < q; ++i) square[i * i % q] = true;
  at::Tensor matrix = at::zeros({m, m}, at::kFloat);
  auto entry = matrix.accessor<float, 2>();
  for (int64_t i = 0; i < m; ++i) {
    entry[i][i] = 1;
    if (i > 0) entry[0][i] = 1;
    if (i > 0) entry[i][0] = -1;
    for (int64_t j = 1; i > 0 && j < m; ++j) {
      if (i != j) entry[i][j] = square[(j - i + q) % q] ? 1.0f : -1.0f;
    }
  }
  return matrix;
}

// Butterflies over the last dimension, without the factor 1/sqrt(n).
at::Tensor Sylvester(at::Tensor x) {
  const int64_t n = x.size(-1);
  const std::vector<int64_t> shape = x.sizes().vec();
  for (int64_t half = 1; half < n; half *= 2) {
    const at::Tensor pairs = x.reshape({-1, n / (2 * half), 2, half});
    const at::Tensor a = pairs.select(2, 0), b = pairs.select(2, 1);
    x = at::stack({a + b, a - b}, 2);
  }
  return x.reshape(shape);
}

}  // namespace

HadamardShape FindHadamard(int64_t n, bool sylvester_only) {
  const int64_t power = n & -n;
  if (power == n) return {.power = n};
  for (int64_t rest = power; !sylvester_only && rest >= 1; rest /= 2) {
    const int64_t m = n / rest;
    if (m % 4 == 0 && IsPrime(m - 1)) return {.power = rest, .paley = m};
  }
  return {.power = power, .blocks = n / power};
}

std::string Describe(const HadamardShape& shape) {
  const std::string power = std::to_string(shape.power);
  if (shape.blocks > 1) return std::to_string(shape.blocks) + " blocks of " + power;
  return shape.paley > 1 ? std::to_string(shape.paley) + " x " + power : power;
}

at::Tensor HadamardTransform(const at::Tensor& x, const HadamardShape& shape, bool inverse) {
  const int64_t outer = shape.blocks * shape.paley;
  TORCH_CHECK(outer * shape.power == x.size(-1), "a Hadamard transform of size ",
              outer * shape.power, " does not fit ", x.size(-1), " numbers");
  const at::ScalarType type = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  at::Tensor y = Sylvester(x.to(type).reshape({-1, outer, shape.power}));
  if (shape.paley > 1) {
    const at::Tensor paley = PaleyMatrix(shape.paley).to(y.options());
    y = at::matmul(inverse ? paley : paley.t(), y);
  }
  y = y / std::sqrt(static_cast<double>(shape.paley * shape.power));
  return y.reshape(x.sizes()).to(x.scalar_type());
}

}  // namespace attnlab
