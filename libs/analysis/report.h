// The result of an analysis, as plain numbers, and its way into a run's record. docs/metrics.md
// defines every number.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "libs/analysis/head_attention.h"
#include "libs/analysis/hidden_stats.h"
#include "libs/analysis/moments.h"
#include "libs/io/results.h"

namespace attnlab {

struct LayerReport {
  std::vector<HeadSummary> heads;              // [H], those of the layer
  std::vector<double> value_norm_ratio;        // [H]: |v_first| / mean |v_t|, mean over sequences
  std::vector<std::vector<double>> off_share;  // [H][off_thresholds]
  HiddenSummary attention_output;              // all heads side by side, before the projection
};

// Sink_k of the key that has the largest one, over all layers and heads.
struct StrongestSinkReport {
  int64_t length = 0;
  double threshold = 0;
  int64_t sequences = 0;
  StrongestSink raw, proxy;
};

struct AnalysisReport {
  int64_t layers = 0, heads = 0;  // heads of a layer before any were removed
  int64_t sequences = 0;
  int64_t length = 0;  // tokens of the longest sequence
  std::vector<double> off_thresholds;
  bool has_selected = false;  // queries were selected (HeadSummary::selected_first_mass)
  bool normalised = true;     // every row of weights summed to 1 within 1e-3

  std::vector<LayerReport> layer;              // [layers]
  std::vector<HiddenSummary> hidden;           // [layers + 1]: embedding, then after each layer
  HiddenSummary final_norm;                    // after the final norm
  Moments pooled;                              // hidden without its last, and final_norm
  Moments pooled_residual;                     // hidden
  std::vector<StrongestSinkReport> strongest;  // lengths x thresholds
  std::vector<std::pair<std::string, AttentionMap>> maps;

  // Heads of all layers together.
  int64_t AllHeads() const;
  // "T64"; the whole sequence (0) by the tokens of the longest one.
  std::string LengthName(int64_t tokens) const;
  // strongest[index] has something to say: sequences of that length came, and whole sequences are
  // not of a length that is listed by itself.
  bool HasLength(size_t index) const;
};

// One number a run: name (libs/io/result_names.h) and value, in the order of docs/metrics.md.
std::vector<std::pair<std::string, Metric>> AnalysisMetrics(const AnalysisReport& report);

// Numbers of every head; NaN in the place of the last ones where heads were removed from a layer.
std::vector<std::pair<std::string, HeadMetric>> AnalysisHeadMetrics(const AnalysisReport& report);

// Numbers of every layer: index 0 the embedding, the last one after the final norm.
std::vector<std::pair<std::string, LayerProfile>> AnalysisProfiles(const AnalysisReport& report);

// Puts all of it, the boxes of activations and the maps into the record.
void WriteAnalysis(const AnalysisReport& report, ResultsWriter& writer);

}  // namespace attnlab
