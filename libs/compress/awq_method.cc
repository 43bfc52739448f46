// The method awq: factors found and folded layer by layer (libs/compress/awq.h), clipped weights,
// asymmetric grids; 4 bits lie in AWQ's layout, others in GPTQ's. As in llm-awq, the program of the
// paper's authors, every layer is shown the inputs that it has in the model as it was.

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/silu.h>

#include <vector>

#include "libs/compress/awq.h"
#include "libs/compress/group_size.h"
#include "libs/compress/input_scales.h"
#include "libs/compress/method_list.h"
#include "libs/core/status.h"
#include "libs/packed/awq_format.h"
#include "libs/packed/gptq_format.h"

namespace attnlab {
namespace {

struct Settings {
  int64_t bits = 4;
  int64_t group_size = 128;
  bool scale = true;
  bool clip = true;
  int64_t search_tokens = 2048;
  int64_t search_sequences = 4;

  template <class Visitor>
  void ForEach(Visitor&& visit) {
    visit("bits", bits, "8, 4, 3 or 2");
    visit("group_size", group_size, "inputs of a row that share a grid; 0: the whole row");
    visit("scale", scale, "search the factors of the inputs");
    visit("clip", clip, "search the clipping of all weights but those of q and k");
    visit("search_tokens", search_tokens, "tokens whose outputs the searches compare");
    visit("search_sequences", search_sequences, "sequences for the factors of q, k and v");
  }
};

// What the heads of one layer put out, before the output projection.
class HeadsProbe : public ForwardProbe {
 public:
  void OnMatrixInput(int64_t /*layer*/, MatrixSlot first, const at::Tensor& input) override {
    if (first == MatrixSlot::kO) output = input;
  }
  at::Tensor output;  // [B, T, H * D]
};

// The searches in one layer; its matrices are as they were before and after each.
class LayerSearch {
 public:
  LayerSearch(Transformer& model, int64_t layer, const LayerInputs& inputs,
              const AwqGridOptions& grid)
      : model_(model), layer_(layer), inputs_(inputs), grid_(grid) {}

  at::Tensor Attention() const {
    using enum MatrixSlot;
    const std::initializer_list<MatrixSlot> group = {kQ, kK, kV};
    std::vector<at::Tensor> originals;
    for (const MatrixSlot slot : group) originals.push_back(Numbers(slot).clone());
    const at::Tensor before = AttentionOutput();
    const at::Tensor s = SearchAwqScales(inputs_.attention.abs_mean, [&](const at::Tensor& s) {
      size_t i = 0;
      for (const MatrixSlot slot : group) Numbers(slot).copy_(Rounded(originals[i++], s));
      return MeanSquare(AttentionOutput() - before);
    });
    size_t i = 0;
    for (const MatrixSlot slot : group) Numbers(slot).copy_(originals[i++]);
    return s;
  }

  at::Tensor Mlp() const {
    const at::Tensor gate = Float(MatrixSlot::kGate), up = Float(MatrixSlot::kUp),
                     down = Float(MatrixSlot::kDown), &x = inputs_.mlp.sample;
    const auto output = [&](const at::Tensor& gate, const at::Tensor& up) {
      return (at::silu(x.matmul(gate.t())) * x.matmul(up.t())).matmul(down.t());
    };
    const at::Tensor before = output(gate, up);
    return SearchAwqScales(inputs_.mlp.abs_mean, [&](const at::Tensor& s) {
      return MeanSquare(output(Rounded(gate, s), Rounded(up, s)) - before);
    });
  }

  // One matrix by its own output.
  at::Tensor Single(MatrixSlot slot, const InputMoments& inputs) const {
    const at::Tensor weight = Float(slot);
    return SearchAwqScales(inputs.abs_mean, [&](const at::Tensor& s) {
      return MeanSquare(inputs.sample.matmul((Rounded(weight, s) - weight).t()));
    });
  }

 private:
  const at::Tensor& Numbers(MatrixSlot slot) const { return model_.Matrix(layer_, slot); }
  at::Tensor Float(MatrixSlot slot) const { return Numbers(slot).to(at::kFloat); }

  at::Tensor Rounded(const at::Tensor& weight, const at::Tensor& s) const {
    return RoundAwq(weight.to(at::kFloat) * s, grid_) / s;
  }

  at::Tensor AttentionOutput() const {
    HeadsProbe probe;
    model_.ProbeLayer(layer_, inputs_.sequences, probe);
    return probe.output.matmul(Numbers(MatrixSlot::kO).t());
  }

  static double MeanSquare(const at::Tensor& x) {
    return x.to(at::kFloat).square().mean().item<double>();
  }

  Transformer& model_;
  const int64_t layer_;
  const LayerInputs& inputs_;
  const AwqGridOptions& grid_;
};

class Awq : public Method {
 public:
  explicit Awq(const Settings& settings)
      : settings_(settings), grid_{settings.bits, settings.group_size} {}

  std::vector<MethodSetting> settings() const override { return DescribeSettings(settings_); }

  CalibrationNeeds needs() const override {
    return {.inputs = true,
            .sample_tokens = settings_.search_tokens,
            .sample_sequences = settings_.scale ? settings_.search_sequences : 0};
  }

  absl::Status Check(const ModelConfig& config) const override {
    ATTNLAB_RETURN_IF_ERROR(CheckGroupSize(config, grid_.group_size));
    return CheckMatrices(config, [&](const std::string& name, int64_t rows, int64_t cols) {
      return Annotate(own_layout() ? CheckAwqFormat(grid_.bits, grid_.group_size, rows, cols)
                                   : CheckGptqFormat(grid_.bits, rows, cols),
                      name);
    });
  }

  bool prepares_layers() const override { return settings_.scale; }
  bool original_inputs() const override { return true; }

  // All factors are found on the layer as it was, then folded. Those of o need a v of its own for
  // every head.
  absl::Status PrepareLayer(Transformer& model, int64_t layer,
                            const LayerInputs& inputs) const override {
    using enum MatrixSlot;
    const LayerSearch search(model, layer, inputs, grid_);
    const bool own_values = model.config().GroupSize() == 1;
    const at::Tensor attention = search.Attention(), mlp = search.Mlp(),
                     down = search.Single(kDown, inputs.down);
    at::Tensor output;
    if (own_values) output = search.Single(kO, inputs.output);
    ScaleBehindNorm(model, layer, {kQ, kK, kV}, attention);
    if (own_values) ScaleBetween(model, layer, kV, kO, output);
    ScaleBehindNorm(model, layer, {kGate, kUp}, mlp);
    ScaleBetween(model, layer, kUp, kDown, down);
    return absl::OkStatus();
  }

  absl::StatusOr<CompressedMatrix> Compress(const MatrixWork& work) const override {
    const int64_t rows = work.weight.size(0), cols = work.weight.size(1);
    const bool clips = settings_.clip && work.slot != MatrixSlot::kQ && work.slot != MatrixSlot::kK;
    const at::Tensor weight =
        clips ? ClipAwq(work.weight, work.inputs->sample, grid_) : work.weight;
    const int64_t group = grid_.group_size > 0 ? grid_.group_size : cols;
    const at::Tensor grouped = weight.reshape({-1, group});
    const Grid grid = FitAwqGrid(grouped, grid_.bits);
    const at::Tensor codes = Codes(grouped, grid).view({rows, cols}),
                     scales = grid.scale.view({rows, -1}), zeros = grid.zero.view({rows, -1});
    const at::Tensor index = at::arange(cols, weight.options().dtype(at::kInt)).div(group, "floor");
    CompressedMatrix matrix;
    ATTNLAB_ASSIGN_OR_RETURN(
        matrix.stored, own_layout() ? MakeAwqMatrix(codes, scales, zeros)
                                    : MakeGptqMatrix(codes, scales, zeros, index, GptqLayout()));
    return matrix;
  }

  Json QuantizationConfig() const override {
    return own_layout() ? AwqConfig(grid_.group_size) : GptqConfig(GptqLayout());
  }

 private:
  bool own_layout() const { return grid_.bits == 4; }
  GptqFormat GptqLayout() const {
    return {.bits = grid_.bits, .group_size = grid_.group_size, .symmetric = false};
  }

  const Settings settings_;
  const AwqGridOptions grid_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Method>> MakeAwq(const Recipe& recipe) {
  Settings settings;
  ATTNLAB_RETURN_IF_ERROR(recipe.Read(settings));
  if (settings.search_tokens < 1 || settings.search_sequences < 1) {
    return absl::InvalidArgumentError("search_tokens and search_sequences must be at least 1");
  }
  return std::make_unique<Awq>(settings);
}

}  // namespace attnlab
