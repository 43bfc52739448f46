// Angles of rotary position embedding (Su et al. 2021): position p turns the pair (i, i + D / 2) of
// a head by p theta^(-2i/D).
#pragma once

#include <ATen/core/Tensor.h>

#include <mutex>
#include <utility>

namespace attnlab {

class RopeTable {
 public:
  RopeTable(int64_t head_dim, double theta, at::Device device, at::ScalarType dtype)
      : head_dim_(head_dim), theta_(theta), device_(device), dtype_(dtype) {}

  // Cosines and sines of positions [begin, begin + count): each [count, D / 2]. The table grows as
  // positions are asked for; any thread may ask.
  std::pair<at::Tensor, at::Tensor> Rows(int64_t begin, int64_t count);

 private:
  const int64_t head_dim_;
  const double theta_;
  const at::Device device_;
  const at::ScalarType dtype_;
  std::mutex mutex_;
  at::Tensor cos_, sin_;
};

}  // namespace attnlab
