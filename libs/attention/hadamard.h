// Orthonormal Hadamard matrices H, entries +-1/sqrt(n), applied to the last dimension: y = x H.
//
// n = 2^k m with m = 1 or m = q + 1 for a prime q = 3 mod 4 (Paley 1933): H is the Kronecker
// product of Paley's matrix of size m and Sylvester's of size 2^k, so y costs n (m + k) additions
// a row instead of n^2 (1408 = 44 * 32). No other n is covered: H is then block-diagonal, n / 2^k
// Sylvester matrices of the largest power of two that divides n, and mixes less.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

namespace attnlab {

struct HadamardShape {
  int64_t power = 1;   // 2^k, the size of Sylvester's part
  int64_t paley = 1;   // m, the size of Paley's part
  int64_t blocks = 1;  // size = blocks * paley * power
};

// The shape of size n with the smallest m. With `sylvester_only` Paley's part is left out; the
// result of a row then has the same bits whatever other rows are transformed with it.
HadamardShape FindHadamard(int64_t n, bool sylvester_only = false);

// "44 x 32", "2 blocks of 64".
std::string Describe(const HadamardShape& shape);

// x H, or x H^T, its inverse: [..., n] in the dtype of x; float64 is computed as such, other types
// in float32.
at::Tensor HadamardTransform(const at::Tensor& x, const HadamardShape& shape, bool inverse = false);
inline at::Tensor HadamardTransform(const at::Tensor& x) {
  return HadamardTransform(x, FindHadamard(x.size(-1)));
}

}  // namespace attnlab
