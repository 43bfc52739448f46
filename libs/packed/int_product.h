// The product of two matrices of 8-bit integers, exact.
#pragma once

#include <ATen/core/Tensor.h>

namespace attnlab {

// a b^T: [n, k] and [m, k] int8 -> [n, m] int32. ATen's integer product where its shape rules and
// the machine allow it (CUDA; a CPU with AVX-512), else float32 products of slices of k that are
// short enough for every sum to be exact.
at::Tensor IntegerProduct(const at::Tensor& a, const at::Tensor& b);

// The float32 way alone, which needs no integer product of ATen.
at::Tensor IntegerProductByFloats(const at::Tensor& a, const at::Tensor& b);

}  // namespace attnlab
