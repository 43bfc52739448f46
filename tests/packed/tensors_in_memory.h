// The tensors of one matrix as a format's reader sees them, from memory: what a StoredMatrix hands
// out, or what a test makes of it.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "libs/packed/formats.h"

namespace attnlab {

class TensorsInMemory : public MatrixTensors {
 public:
  TensorsInMemory() = default;
  explicit TensorsInMemory(const StoredMatrix& matrix) {
    for (const auto& [suffix, tensor] : matrix.Tensors()) tensors[suffix] = tensor.clone();
  }

  bool Has(const std::string& suffix) const override { return tensors.count(suffix) > 0; }
  absl::StatusOr<at::Tensor> Take(const std::string& suffix) override {
    const auto found = tensors.find(suffix);
    if (found == tensors.end()) return absl::NotFoundError(absl::StrCat("no ", name_, ".", suffix));
    taken.push_back(suffix);
    return found->second;
  }
  using MatrixTensors::Take;
  const std::string& name() const override { return name_; }
  absl::Status Error(const std::string& suffix, const std::string& message) const override {
    return absl::InvalidArgumentError(absl::StrCat(name_, ".", suffix, " ", message));
  }

  void Rename(const std::string& name) { name_ = name; }

  std::map<std::string, at::Tensor> tensors;
  std::vector<std::string> taken;

 private:
  std::string name_ = "model.layers.0.mlp.down_proj";
};

}  // namespace attnlab
