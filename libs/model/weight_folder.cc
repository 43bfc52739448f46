#include "libs/model/weight_folder.h"

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "libs/core/status.h"
#include "libs/io/json.h"
#include "libs/model/tensor_io.h"

namespace attnlab {
namespace {

// The files that hold the weights: model.safetensors, or the shards that an index names.
absl::StatusOr<std::vector<std::string>> WeightFiles(const std::string& dir) {
  const std::string single = dir + "/model.safetensors", index = single + ".index.json";
  std::error_code ignored;
  if (std::filesystem::exists(single, ignored) || !std::filesystem::exists(index, ignored)) {
    return std::vector<std::string>{single};
  }
  ATTNLAB_ASSIGN_OR_RETURN(const Json json, Json::ParseFile(index));
  ATTNLAB_ASSIGN_OR_RETURN(const auto map, JsonRef(json, index)["weight_map"].Members());
  std::set<std::string> files;
  for (const auto& [tensor, file] : map) {
    ATTNLAB_ASSIGN_OR_RETURN(const absl::string_view name, file.String());
    if (name.empty() || name.find('/') != absl::string_view::npos) {
      return file.Error("a shard must be a file of the same folder");
    }
    files.insert(absl::StrCat(dir, "/", name));
  }
  return std::vector<std::string>(files.begin(), files.end());
}

// Some writers store the rotary frequencies, which follow from rope_theta.
bool IsRotaryFrequency(const std::string& name) {
  return name.size() > 8 && name.compare(name.size() - 8, 8, "inv_freq") == 0;
}

}  // namespace

absl::StatusOr<WeightFolder> WeightFolder::Open(const std::string& dir) {
  WeightFolder folder(dir);
  ATTNLAB_ASSIGN_OR_RETURN(const std::vector<std::string> paths, WeightFiles(dir));
  for (const std::string& path : paths) {
    ATTNLAB_ASSIGN_OR_RETURN(folder.files_.emplace_back(), SafetensorsFile::Open(path));
  }
  for (const auto& file : folder.files_) {
    for (const TensorView& view : file->tensors()) {
      if (IsRotaryFrequency(view.name)) continue;
      if (folder.found_.emplace(view.name, Weight{view, file->path()}).second) continue;
      return absl::InvalidArgumentError(absl::StrCat(
          file->path(), ": tensor ", view.name, " is in ", folder.found_[view.name].file, " too"));
    }
  }
  return folder;
}

const Weight* WeightFolder::Find(const std::string& name) const {
  const auto it = found_.find(name);
  return it == found_.end() ? nullptr : &it->second;
}

absl::StatusOr<Weight> WeightFolder::Take(const std::string& name) {
  const auto it = found_.find(name);
  if (it == found_.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat(dir_, ": tensor ", name, " is missing from the weights"));
  }
  taken_.insert(name);
  return it->second;
}

absl::Status WeightFolder::CheckNothingIsLeft() const {
  if (taken_.size() == found_.size()) return absl::OkStatus();
  const auto left = std::find_if(found_.begin(), found_.end(),
                                 [&](const auto& entry) { return !taken_.contains(entry.first); });
  return absl::InvalidArgumentError(absl::StrFormat(
      "%s: tensor %s belongs to no part of the model that config.json describes (%d such)",
      left->second.file, left->first, found_.size() - taken_.size()));
}

bool PackedTensors::Has(const std::string& suffix) const {
  return folder_.Find(Name(suffix)) != nullptr;
}

absl::StatusOr<at::Tensor> PackedTensors::Take(const std::string& suffix) {
  ATTNLAB_ASSIGN_OR_RETURN(const Weight weight, folder_.Take(Name(suffix)));
  return TensorFromView(weight.view).clone();
}

absl::Status PackedTensors::Error(const std::string& suffix, const std::string& message) const {
  const Weight* weight = folder_.Find(Name(suffix));
  return absl::InvalidArgumentError(absl::StrCat(weight == nullptr ? "" : weight->file + ": ",
                                                 "tensor ", Name(suffix), " ", message));
}

std::string PackedTensors::Name(const std::string& suffix) const {
  return absl::StrCat(name_, ".", suffix);
}

}  // namespace attnlab
