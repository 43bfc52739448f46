// Keys and values with few bits (libs/attention/kv_quantization.h); the weights stay as they are.

#include "absl/strings/str_cat.h"
#include "libs/compress/method_list.h"
#include "libs/core/status.h"

namespace attnlab {
namespace {

class Kv : public Method {
 public:
  explicit Kv(const KvQuantization& settings) : settings_(settings) {}

  std::vector<MethodSetting> settings() const override { return DescribeSettings(settings_); }
  absl::Status Check(const ModelConfig& config) const override {
    return Validate(settings_, config.HeadDim());
  }
  absl::Status PrepareModel(Transformer& model, const at::Tensor& /*tokens*/) const override {
    model.SetKvCache(settings_);
    return absl::OkStatus();
  }
  absl::StatusOr<CompressedMatrix> Compress(const MatrixWork& work) const override {
    return CompressedMatrix{nullptr, work.weight};
  }

 private:
  const KvQuantization settings_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Method>> MakeKv(const Recipe& recipe) {
  KvQuantization settings = {.bits = 8};
  ATTNLAB_RETURN_IF_ERROR(recipe.Read(settings));
  if (settings.bits != 8 && settings.bits != 4 && settings.bits != 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("bits = ", settings.bits, ": must be 8, 4 or 2"));
  }
  return std::make_unique<Kv>(settings);
}

}  // namespace attnlab
