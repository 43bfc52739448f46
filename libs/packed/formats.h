// The layouts in which packed matrices stand in a model folder, as config.json names them in
// quantization_config.quant_method: one file and one line of formats.def a layout.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/io/json.h"
#include "libs/packed/stored_matrix.h"

namespace attnlab {

// The tensors of one matrix in an open model folder. What is taken counts as known; what is left
// over is an error of the reader of the model.
class MatrixTensors {
 public:
  virtual ~MatrixTensors() = default;

  virtual bool Has(const std::string& suffix) const = 0;
  // A copy of the tensor NAME.suffix. An error names file and tensor when it is missing.
  virtual absl::StatusOr<at::Tensor> Take(const std::string& suffix) = 0;
  // The same, which must have this dtype and shape.
  absl::StatusOr<at::Tensor> Take(const std::string& suffix, at::ScalarType dtype,
                                  at::IntArrayRef shape);

  // "model.layers.0.self_attn.q_proj", for errors.
  virtual const std::string& name() const = 0;
  // An InvalidArgument error about the tensor NAME.suffix.
  virtual absl::Status Error(const std::string& suffix, const std::string& message) const = 0;
};

// Reads the matrix [rows, cols] from `tensors` as `config`, the quantization_config object, says.
// Files are hostile: dtypes, shapes and index ranges are checked before anything is computed.
absl::StatusOr<std::shared_ptr<const StoredMatrix>> ReadStoredMatrix(MatrixTensors& tensors,
                                                                     int64_t rows, int64_t cols,
                                                                     const JsonRef& config);

// Values of quant_method that can be read.
std::vector<std::string> FormatNames();

}  // namespace attnlab
