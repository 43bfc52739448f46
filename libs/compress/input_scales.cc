#include "libs/compress/input_scales.h"

#include "absl/strings/str_cat.h"
#include "libs/core/check.h"

namespace attnlab {
namespace {

void ScaleColumns(Transformer& model, int64_t layer, MatrixSlot slot, const at::Tensor& s) {
  const at::Tensor& matrix = model.Matrix(layer, slot);
  matrix.mul_(s.to(matrix.scalar_type()));
}

}  // namespace

void ScaleBehindNorm(Transformer& model, int64_t layer, SlotGroup group, const at::Tensor& s) {
  const bool attention = *group.begin() == MatrixSlot::kQ;
  const std::string norm =
      absl::StrCat("model.layers.", layer,
                   attention ? ".input_layernorm.weight" : ".post_attention_layernorm.weight");
  bool found = false;
  for (const auto& [name, tensor] : model.NamedParameters()) {
    if (name != norm) continue;
    tensor.div_(s.to(tensor.scalar_type()));
    found = true;
  }
  ATTNLAB_CHECK(found, norm);
  for (const MatrixSlot slot : group) ScaleColumns(model, layer, slot, s);
}

void ScaleBetween(Transformer& model, int64_t layer, MatrixSlot before, MatrixSlot after,
                  const at::Tensor& s) {
  const at::Tensor& source = model.Matrix(layer, before);
  source.div_(s.to(source.scalar_type()).unsqueeze(1));
  ScaleColumns(model, layer, after, s);
}

}  // namespace attnlab
