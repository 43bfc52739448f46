// Tensors that other implementations left in tests/golden/compress.
#pragma once

#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <string>

#include "libs/model/tensor_io.h"

namespace attnlab {

using TensorMap = std::map<std::string, at::Tensor>;

// The record NAME.safetensors, or the file that the environment variable names; empty, with a
// failure of the test, when it cannot be read.
inline TensorMap ReadRecord(const std::string& name, const char* variable) {
  const char* other = std::getenv(variable);
  const auto loaded =
      LoadTensors(other != nullptr ? std::string(other)
                                   : std::string(ATTNLAB_SOURCE_DIR) + "/tests/golden/compress/" +
                                         name + ".safetensors");
  EXPECT_TRUE(loaded.ok()) << loaded.status();
  return loaded.ok() ? TensorMap(loaded->begin(), loaded->end()) : TensorMap();
}

// The tensors whose names begin with `prefix`, without it.
inline TensorMap WithPrefix(const TensorMap& tensors, const std::string& prefix) {
  TensorMap group;
  for (const auto& [name, tensor] : tensors) {
    if (name.rfind(prefix, 0) == 0) group[name.substr(prefix.size())] = tensor;
  }
  return group;
}

}  // namespace attnlab
