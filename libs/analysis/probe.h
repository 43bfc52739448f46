// Watches forward passes and measures attention and activations. Holds the weights of a block of
// query rows of one layer and one sequence at a time, never a whole map, and sums in float64.
//
//   AnalysisProbe probe(model.config(), options);
//   probe.BeginBatch({.lengths = ..., .selected = ...});
//   model.Hidden(tokens, {.probe = &probe});           // any number of batches
//   AnalysisReport report = probe.Finish();
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "libs/analysis/head_attention.h"
#include "libs/analysis/hidden_stats.h"
#include "libs/analysis/report.h"
#include "libs/model/config.h"
#include "libs/model/probe.h"

namespace attnlab {

struct AnalysisOptions {
  std::vector<int64_t> lengths = {64, 256, 0};        // T of the sink rates; 0: the whole sequence
  std::vector<double> thresholds = {0.2, 0.3, 0.8};   // of the sink rates
  std::vector<double> off_thresholds = {1e-6, 1e-2};  // of |o| in dead heads
  int64_t map_sequences = 1;                          // the first sequences whose maps are kept
  int64_t map_length = 64;                            // queries and keys of a map
  int64_t map_layers = 8, map_heads = 8;              // at most that many, evenly spaced
  int64_t block_entries = int64_t{1} << 20;           // weights held at once: 4 MiB of float32
  std::function<std::string(int32_t)> token_text;     // names of tokens beside the maps, if set
};

// What the next forward pass is given.
struct AnalysisBatch {
  std::vector<int64_t> lengths;        // [B] tokens before the right padding; each at least 1
  int64_t columns = 0;                 // T, padding included
  std::vector<uint8_t> selected = {};  // [B, T]: queries measured apart; may be empty
  std::vector<int32_t> tokens = {};    // [B, T]: for the maps; may be empty
};

class AnalysisProbe : public ForwardProbe {
 public:
  AnalysisProbe(const ModelConfig& config, const AnalysisOptions& options);

  void BeginBatch(AnalysisBatch batch);

  void OnHidden(int64_t index, const at::Tensor& hidden) override;
  void OnFinalNorm(const at::Tensor& hidden) override;
  void OnAttention(int64_t layer, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                   const at::Tensor& out, const AttentionOptions& options,
                   const std::vector<at::Tensor>& head_parameters) override;

  AnalysisReport Finish() const;

 private:
  struct Layer {
    std::vector<HeadAttention> heads;      // [H], those of the layer
    std::vector<OffTokens> off;            // [H]
    std::vector<double> value_norm_ratio;  // [Hkv], sums over sequences
    int64_t value_sequences = 0;
    HiddenStats output;
  };

  void AddHidden(const at::Tensor& hidden, HiddenStats& stats) const;  // [B, T, features]
  void AddWeights(int64_t layer, int64_t row, const at::Tensor& q, const at::Tensor& k,
                  const AttentionOptions& options, const std::vector<at::Tensor>& head_parameters);
  void AddOutputs(Layer& layer, const at::Tensor& out, const at::Tensor& v) const;
  bool WantsMap(int64_t layer, int64_t row) const;
  void KeepMapRows(int64_t layer, int64_t row, const at::Tensor& weights, int64_t row_begin);
  LayerReport Summarise(const Layer& layer) const;

  const int64_t heads_, group_size_;  // of a whole layer; query heads of a key and value head
  const AnalysisOptions options_;
  AnalysisBatch batch_;
  int64_t sequences_ = 0;  // before the batch
  int64_t longest_ = 0;
  bool has_selected_ = false;
  std::vector<Layer> layers_;
  std::vector<HiddenStats> hidden_;  // [layers + 1]
  HiddenStats final_norm_;
  std::vector<AttentionMap> maps_;  // in the order of sequences, layers, heads as they come
};

}  // namespace attnlab
