// The weights of a model folder by name: model.safetensors or its shards, and which tensors a model
// has taken of them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/io/safetensors.h"
#include "libs/packed/formats.h"

namespace attnlab {

struct Weight {
  TensorView view;   // valid as long as its folder
  std::string file;  // for errors
};

class WeightFolder {
 public:
  // Opens every file of the folder's weights. InvalidArgument for a shard outside of the folder and
  // for a tensor that two files hold.
  static absl::StatusOr<WeightFolder> Open(const std::string& dir);

  const Weight* Find(const std::string& name) const;  // null when there is none
  // The weight, which counts as taken. InvalidArgument when there is none.
  absl::StatusOr<Weight> Take(const std::string& name);
  // InvalidArgument that names a tensor which nobody took.
  absl::Status CheckNothingIsLeft() const;

 private:
  explicit WeightFolder(std::string dir) : dir_(std::move(dir)) {}

  std::string dir_;
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::map<std::string, Weight> found_;
  std::set<std::string> taken_;
};

// The tensors of one packed matrix; `name` is its own without ".weight".
class PackedTensors : public MatrixTensors {
 public:
  PackedTensors(WeightFolder& folder, std::string name) : folder_(folder), name_(std::move(name)) {}

  bool Has(const std::string& suffix) const override;
  using MatrixTensors::Take;
  absl::StatusOr<at::Tensor> Take(const std::string& suffix) override;
  const std::string& name() const override { return name_; }
  absl::Status Error(const std::string& suffix, const std::string& message) const override;

 private:
  std::string Name(const std::string& suffix) const;

  WeightFolder& folder_;
  const std::string name_;
};

}  // namespace attnlab
