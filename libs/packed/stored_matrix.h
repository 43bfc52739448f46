// A weight matrix in the form in which it is stored: quantized codes, a sparse pattern. A model
// computes from it; the numbers it stands for exist a matrix at a time, while they are used.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace attnlab {

// What is left of a tensor's name in a file behind the matrix's own, and the tensor:
// {"qweight", ...} for model.layers.0.mlp.up_proj.qweight.
using SuffixedTensors = std::vector<std::pair<std::string, at::Tensor>>;

// Immutable. y = x W^T with W [rows, cols] = [out, in].
class StoredMatrix {
 public:
  StoredMatrix(int64_t rows, int64_t cols) : rows_(rows), cols_(cols) {}
  virtual ~StoredMatrix() = default;

  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }

  // The numbers that it stands for: [rows, cols] in `dtype`, on its device.
  virtual at::Tensor Dense(at::ScalarType dtype) const = 0;

  // x W^T in the dtype of x: [..., cols] -> [..., rows]. This one multiplies with Dense; a form
  // that rounds activations too, or has a product of its own, overrides it.
  virtual at::Tensor Product(const at::Tensor& x) const;

  // What a file holds of it. The tensors are its own.
  virtual SuffixedTensors Tensors() const = 0;

  // The same matrix on `device`.
  virtual std::shared_ptr<const StoredMatrix> To(at::Device device) const = 0;

  // Bytes of Tensors().
  int64_t Bytes() const;

 private:
  const int64_t rows_, cols_;
};

}  // namespace attnlab
