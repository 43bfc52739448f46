// Pruning by magnitude: the smallest weights of each matrix go, no input is looked at.

#include "libs/compress/masks.h"
#include "libs/compress/method_list.h"
#include "libs/compress/prune_settings.h"
#include "libs/core/status.h"

namespace attnlab {
namespace {

class Magnitude : public PruningMethod {
 public:
  explicit Magnitude(const PruneSettings& settings) : settings_(settings) {}

  std::vector<MethodSetting> settings() const override { return DescribeSettings(settings_); }

  absl::StatusOr<CompressedMatrix> Compress(const MatrixWork& work) const override {
    const at::Tensor scores = work.weight.abs();
    const at::Tensor mask =
        pattern().period > 0 ? PatternMask(scores) : MaskOfAll(scores, sparsity());
    return Keep(work.weight.masked_fill(mask, 0));
  }

 private:
  const PruneSettings settings_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Method>> MakeMagnitude(const Recipe& settings) {
  PruneSettings read;
  ATTNLAB_RETURN_IF_ERROR(settings.Read(read));
  auto method = std::make_unique<Magnitude>(read);
  ATTNLAB_RETURN_IF_ERROR(method->Init(read));
  return method;
}

}  // namespace attnlab
