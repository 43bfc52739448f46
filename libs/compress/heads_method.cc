// Pruning of attention heads: the heads of least worth leave the model, with their rows and
// columns.

#include "absl/strings/str_cat.h"
#include "libs/compress/heads.h"
#include "libs/compress/method_list.h"
#include "libs/core/log.h"
#include "libs/core/status.h"

namespace attnlab {
namespace {

constexpr int64_t kBatch = 8;

struct Settings {
  std::string score = "importance";
  double sparsity = 0.25;
  double threshold = 0.01;

  template <class Visitor>
  void ForEach(Visitor&& visit) {
    visit("score", score,
          "importance (Michel et al. 2019), ablation (rise of the loss) or row_sum (dead heads)");
    visit("sparsity", sparsity, "share of the heads that goes, by importance or ablation");
    visit("threshold", threshold, "row sum below which a head goes, by row_sum");
  }
};

class Heads : public Method {
 public:
  explicit Heads(Settings settings) : settings_(std::move(settings)) {}

  std::vector<MethodSetting> settings() const override { return DescribeSettings(settings_); }
  CalibrationNeeds needs() const override { return {.text = true}; }
  absl::Status Check(const ModelConfig& config) const override { return absl::OkStatus(); }

  absl::Status PrepareModel(Transformer& model, const at::Tensor& tokens) const override {
    const at::Tensor text = tokens.to(model.device());
    const int64_t group = model.config().GroupSize();
    KeptHeads kept;
    if (settings_.score == "row_sum") {
      kept = DropBelow(HeadRowSums(model, text, kBatch), settings_.threshold, group);
    } else if (settings_.score == "ablation") {
      kept = DropLeast(HeadAblation(model, text, kBatch), settings_.sparsity, false, group);
    } else {
      kept = DropLeast(HeadImportance(model, text, kBatch), settings_.sparsity, true, group);
    }
    int64_t heads = 0;
    for (const std::vector<int64_t>& layer : kept) heads += static_cast<int64_t>(layer.size());
    LogInfo(absl::StrCat(heads, " of ",
                         model.config().num_hidden_layers * model.config().num_attention_heads,
                         " heads stay"));
    ATTNLAB_ASSIGN_OR_RETURN(model, KeepHeads(model, kept));
    return absl::OkStatus();
  }

  absl::StatusOr<CompressedMatrix> Compress(const MatrixWork& work) const override {
    return CompressedMatrix{nullptr, work.weight};
  }

 private:
  const Settings settings_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Method>> MakeHeads(const Recipe& recipe) {
  Settings settings;
  ATTNLAB_RETURN_IF_ERROR(recipe.Read(settings));
  if (settings.score != "importance" && settings.score != "ablation" &&
      settings.score != "row_sum") {
    return absl::InvalidArgumentError(
        absl::StrCat("score = \"", settings.score, "\": must be importance, ablation or row_sum"));
  }
  if (!(settings.sparsity >= 0 && settings.sparsity < 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("sparsity = ", settings.sparsity, ": must be from 0 to below 1"));
  }
  return std::make_unique<Heads>(settings);
}

}  // namespace attnlab
