// Wanda (Sun et al. 2023, arXiv:2306.11695): the weights with the least |W_ij| ||x_j|| of each
// output row go; nothing is updated.

#include "libs/compress/masks.h"
#include "libs/compress/method_list.h"
#include "libs/compress/prune_settings.h"
#include "libs/core/status.h"

namespace attnlab {
namespace {

struct WandaSettings : PruneSettings {
  bool variant = false;

  template <class Visitor>
  void ForEach(Visitor&& visit) {
    PruneSettings::ForEach(visit);
    visit("variant", variant, "every row gives up the same share of its summed score");
  }
};

class Wanda : public PruningMethod {
 public:
  explicit Wanda(const WandaSettings& settings) : settings_(settings) {}

  std::vector<MethodSetting> settings() const override { return DescribeSettings(settings_); }

  CalibrationNeeds needs() const override { return {.inputs = true}; }

  absl::StatusOr<CompressedMatrix> Compress(const MatrixWork& work) const override {
    const at::Tensor scores = WandaScores(work.weight, work.inputs->square_norm);
    const at::Tensor mask = pattern().period > 0 ? PatternMask(scores)
                            : settings_.variant  ? MaskOfScoreShare(scores, sparsity())
                                                 : MaskOfRows(scores, sparsity());
    return Keep(work.weight.masked_fill(mask, 0));
  }

 private:
  const WandaSettings settings_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Method>> MakeWanda(const Recipe& settings) {
  WandaSettings read;
  ATTNLAB_RETURN_IF_ERROR(settings.Read(read));
  auto method = std::make_unique<Wanda>(read);
  ATTNLAB_RETURN_IF_ERROR(method->Init(read));
  return method;
}

}  // namespace attnlab
