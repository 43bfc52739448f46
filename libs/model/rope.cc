// Rotary angles, computed in float64 and kept in the model's dtype.

#include "libs/model/rope.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <c10/core/GradMode.h>

#include <bit>
#include <cmath>

namespace attnlab {

std::pair<at::Tensor, at::Tensor> RopeTable::Rows(int64_t begin, int64_t count) {
  const std::lock_guard lock(mutex_);
  if (!cos_.defined() || begin + count > cos_.size(0)) {
    const c10::AutoGradMode no_grad(false);
    const int64_t positions = std::bit_ceil(static_cast<uint64_t>(begin + count));
    const int64_t half = head_dim_ / 2;
    at::Tensor cos = at::empty({positions, half}, at::kDouble), sin = at::empty_like(cos);
    double* cos_data = cos.mutable_data_ptr<double>();
    double* sin_data = sin.mutable_data_ptr<double>();
    for (int64_t i = 0; i < half; ++i) {
      const double frequency = std::pow(theta_, -2.0 * i / head_dim_);
      for (int64_t p = 0; p < positions; ++p) {
        cos_data[p * half + i] = std::cos(p * frequency);
        sin_data[p * half + i] = std::sin(p * frequency);
      }
    }
    cos_ = cos.to(device_, dtype_);
    sin_ = sin.to(device_, dtype_);
  }
  return {cos_.narrow(0, begin, count), sin_.narrow(0, begin, count)};
}

}  // namespace attnlab
