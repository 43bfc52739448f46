#include "libs/packed/stored_matrix.h"

#include <ATen/ops/linear.h>

namespace attnlab {

at::Tensor StoredMatrix::Product(const at::Tensor& x) const {
  return at::linear(x, Dense(x.scalar_type()));
}

int64_t StoredMatrix::Bytes() const {
  int64_t bytes = 0;
  for (const auto& [name, tensor] : Tensors()) bytes += static_cast<int64_t>(tensor.nbytes());
  return bytes;
}

}  // namespace attnlab
