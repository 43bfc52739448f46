// Tensors of LibTorch to and from safetensors files (libs/io/safetensors.h).
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/io/safetensors.h"

namespace attnlab {

// Writes tensors of any device and stride, atomically. InvalidArgument for a dtype that the format
// has no name for and for a name that occurs twice.
absl::Status SaveTensors(const std::string& path,
                         const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                         const std::map<std::string, std::string>& metadata = {});

// All tensors of a file, as copies on the CPU.
absl::StatusOr<std::vector<std::pair<std::string, at::Tensor>>> LoadTensors(
    const std::string& path);

// A tensor that reads the bytes of `view` in place; valid as long as they are.
at::Tensor TensorFromView(const TensorView& view);

}  // namespace attnlab
