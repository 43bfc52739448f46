// The storage of bitsandbytes (Dettmers et al. 2022, 2023), as transformers writes it and opens it
// on models of its own.
//
// 4 bit: the matrix as one row of numbers in blocks; a block's codes name the nearest of 16 values
// times its largest magnitude. NF4's values are quantiles of the normal distribution, FP4's a float
// with one sign, two exponent bits and one mantissa bit. Double quantization keeps the blocks'
// magnitudes less their mean with 8 bits a piece.
//
// LLM.int8(): a scale a row, and activations rounded to 8 bits a token at each product; input
// columns that hold an activation of at least `threshold` are multiplied as they are.
//
// What is stored equals what bitsandbytes 0.50 computes on a CPU bit for bit. Its CUDA code has
// thresholds that differ in the last digit and compares magnitudes of double quantization exactly
// where the CPU rounds them to a grid of 2^16 first (0.15 % of those codes differ by one).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/io/json.h"
#include "libs/packed/formats.h"
#include "libs/packed/stored_matrix.h"

namespace attnlab {

enum class FourBitType { kNf4, kFp4 };

struct FourBitOptions {
  FourBitType type = FourBitType::kNf4;
  int64_t block_size = 64;
  bool double_quant = false;
};

// InvalidArgument unless the block size is a power of two from 32 to 4096.
absl::Status Validate(const FourBitOptions& options);

// The 16 values by code, and the 256 of double quantization, ascending: float32.
at::Tensor FourBitValues(FourBitType type);
at::Tensor DynamicMap();

// `weight` [rows, cols] float32; `options` is valid.
std::shared_ptr<const StoredMatrix> QuantizeFourBit(const at::Tensor& weight,
                                                    const FourBitOptions& options);

// `weight` [rows, cols] float32, rounded to float16 before it is quantized, as bitsandbytes does.
std::shared_ptr<const StoredMatrix> QuantizeLlmInt8(const at::Tensor& weight, double threshold);

// The readers of the two, for ReadBitsandbytesMatrix, which tells them apart.
absl::StatusOr<std::shared_ptr<const StoredMatrix>> ReadFourBit(MatrixTensors& tensors,
                                                                int64_t rows, int64_t cols,
                                                                FourBitType type);
absl::StatusOr<std::shared_ptr<const StoredMatrix>> ReadLlmInt8(MatrixTensors& tensors,
                                                                int64_t rows, int64_t cols,
                                                                double threshold);

// The quantization_config of a model folder.
Json FourBitConfig(const FourBitOptions& options);
Json LlmInt8Config(double threshold);

}  // namespace attnlab
