// Compression of a model a layer at a time: each layer is shown what the compressed layers before
// it give on the calibration text, its matrices are compressed, and its output goes on to the next
// one. The memory taken is that of one layer's inputs; twice that for methods that ask for the
// inputs of the model as it was (Method::original_inputs).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/compress/method.h"
#include "libs/model/transformer.h"

namespace attnlab {

struct CompressOptions {
  int64_t batch = 0;                  // calibration sequences in a pass; 0: 16,384 tokens
  at::ScalarType dtype = at::kFloat;  // in which weights that stay numbers will be stored
  bool measure_outputs = false;  // output errors even when the method needs no calibration text
  ForwardOptions forward;
};

// What became of one matrix.
struct MatrixReport {
  std::string name;
  int64_t layer = 0, rows = 0, cols = 0;
  double bits = 0;          // stored bits a weight, scales and indices included
  double sparsity = 0;      // share of exact zeros
  double weight_error = 0;  // |W - W'| / |W|, Frobenius
  double output_error = 0;  // |X (W - W')^T| / |X W^T| on the calibration inputs; NaN: not measured
  double seconds = 0;
};

struct CompressReport {
  std::vector<MatrixReport> matrices;
  double seconds = 0;

  double bits() const;          // a weight of all matrices
  double sparsity() const;      // of all their weights
  double weight_error() const;  // root of the summed squares over all matrices
  double output_error() const;  // mean over the matrices
};

// Compresses the matrices of all layers of `model` in place. `tokens` [N, T] int64 is the
// calibration text; it may be undefined when the method needs none. Errors name the matrix.
absl::StatusOr<CompressReport> CompressModel(Transformer& model, const Method& method,
                                             const at::Tensor& tokens,
                                             const CompressOptions& options);

}  // namespace attnlab
