// The map between the dtypes of LibTorch and of safetensors, and copies both ways.

#include "libs/model/tensor_io.h"

#include <ATen/ops/from_blob.h>

#include <memory>

#include "absl/strings/str_cat.h"
#include "libs/core/check.h"
#include "libs/core/status.h"

namespace attnlab {
namespace {

struct DTypePair {
  TensorDType file;
  at::ScalarType torch;
};
constexpr DTypePair kDTypePairs[] = {
    {TensorDType::kF64, at::kDouble}, {TensorDType::kF32, at::kFloat},
    {TensorDType::kF16, at::kHalf},   {TensorDType::kBF16, at::kBFloat16},
    {TensorDType::kI64, at::kLong},   {TensorDType::kI32, at::kInt},
    {TensorDType::kI16, at::kShort},  {TensorDType::kI8, at::kChar},
    {TensorDType::kU8, at::kByte},    {TensorDType::kBool, at::kBool}};

}  // namespace

at::Tensor TensorFromView(const TensorView& view) {
  for (const DTypePair& pair : kDTypePairs) {
    if (pair.file != view.dtype) continue;
    // Readers promise not to write; from_blob has no const form.
    return at::from_blob(const_cast<uint8_t*>(view.bytes.data()), view.shape,
                         at::TensorOptions(pair.torch));
  }
  internal::CheckFailed(__FILE__, __LINE__, "a dtype of safetensors", view.name);
}

absl::Status SaveTensors(const std::string& path,
                         const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                         const std::map<std::string, std::string>& metadata) {
  std::vector<at::Tensor> dense;  // keeps the bytes until they are written
  std::vector<TensorView> views;
  for (const auto& [name, tensor] : tensors) {
    dense.push_back(tensor.detach().cpu().contiguous());
    const at::Tensor& here = dense.back();
    TensorView view;
    view.name = name;
    view.shape = here.sizes().vec();
    view.bytes = {static_cast<const uint8_t*>(here.const_data_ptr()), here.nbytes()};
    bool known = false;
    for (const DTypePair& pair : kDTypePairs) {
      if (pair.torch != here.scalar_type()) continue;
      view.dtype = pair.file;
      known = true;
    }
    if (!known) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": tensor ", name, " is ",
                                                     c10::toString(here.scalar_type()),
                                                     ", which safetensors has no name for"));
    }
    views.push_back(std::move(view));
  }
  return WriteSafetensors(path, std::move(views), metadata);
}

absl::StatusOr<std::vector<std::pair<std::string, at::Tensor>>> LoadTensors(
    const std::string& path) {
  ATTNLAB_ASSIGN_OR_RETURN(const std::unique_ptr<SafetensorsFile> file,
                           SafetensorsFile::Open(path));
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  for (const TensorView& view : file->tensors()) {
    tensors.emplace_back(view.name, TensorFromView(view).clone());
  }
  return tensors;
}

}  // namespace attnlab
