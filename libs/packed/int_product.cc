#include "libs/packed/int_product.h"

#include <ATen/Version.h>
#include <ATen/ops/_int_mm.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <string>

namespace attnlab {
namespace {

// Sums of this many products of two int8 stay below 2^24, where float32 still holds every integer.
constexpr int64_t kExactSlice = 1024;
// CUDA's integer product wants more than 16 rows.
constexpr int64_t kCudaRows = 17;

bool CpuHasIntegerProduct() {
  static const bool has = at::get_cpu_capability().rfind("AVX512", 0) == 0;
  return has;
}

}  // namespace

at::Tensor IntegerProductByFloats(const at::Tensor& a, const at::Tensor& b) {
  at::Tensor sum = at::zeros({a.size(0), b.size(0)}, a.options().dtype(at::kInt));
  for (int64_t begin = 0; begin < a.size(1); begin += kExactSlice) {
    const int64_t end = std::min(begin + kExactSlice, a.size(1));
    const at::Tensor left = a.slice(1, begin, end).to(at::kFloat);
    const at::Tensor right = b.slice(1, begin, end).to(at::kFloat);
    sum.add_(left.matmul(right.t()).to(at::kInt));
  }
  return sum;
}

at::Tensor IntegerProduct(const at::Tensor& a, const at::Tensor& b) {
  TORCH_CHECK(a.scalar_type() == at::kChar && b.scalar_type() == at::kChar);
  const bool even = a.size(1) % 8 == 0 && b.size(0) % 8 == 0;
  if (a.is_cuda() && even) {
    const int64_t rows = a.size(0);
    const at::Tensor padded =
        rows < kCudaRows ? at::constant_pad_nd(a, {0, 0, 0, kCudaRows - rows}) : a;
    return at::_int_mm(padded.contiguous(), b.t()).slice(0, 0, rows);
  }
  if (a.is_cpu() && even && CpuHasIntegerProduct()) return at::_int_mm(a.contiguous(), b.t());
  return IntegerProductByFloats(a, b);
}

}  // namespace attnlab
