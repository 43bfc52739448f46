#include "libs/analysis/report.h"

#include <algorithm>
#include <functional>
#include <limits>

#include "absl/strings/str_cat.h"
#include "libs/io/result_names.h"

namespace attnlab {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// The hidden states as transformers returns them: embedding, layers, the last after the final norm.
std::vector<const HiddenSummary*> ReturnedStates(const AnalysisReport& report) {
  std::vector<const HiddenSummary*> states;
  for (int64_t i = 0; i < report.layers; ++i) states.push_back(&report.hidden[i]);
  states.push_back(&report.final_norm);
  return states;
}

// Collects metrics of the heads, fractions over all tokens where nothing else is said.
class HeadMetricList {
 public:
  explicit HeadMetricList(const AnalysisReport& report) : report_(report) {}

  HeadMetric& Add(const std::string& name, const std::string& label, const std::string& definition,
                  const std::function<double(const LayerReport&, size_t)>& value) {
    HeadMetric metric;
    metric.layers = report_.layers;
    metric.heads = report_.heads;
    metric.label = label;
    metric.unit = "fraction";
    metric.definition = definition;
    metric.tokens = report_.length;
    metric.sequences = report_.sequences;
    for (const LayerReport& layer : report_.layer) {
      for (size_t head = 0; head < layer.heads.size(); ++head) {
        metric.values.push_back(value(layer, head));
      }
      metric.values.resize(metric.values.size() + report_.heads - layer.heads.size(), kNan);
      metric.layer_heads.push_back(static_cast<int64_t>(layer.heads.size()));
    }
    if (report_.AllHeads() == report_.layers * report_.heads) metric.layer_heads.clear();
    return list_.emplace_back(name, std::move(metric)).second;
  }
  void Add(const char* name, const char* label, const char* definition,
           double HeadSummary::*member) {
    Add(name, label, definition,
        [member](const LayerReport& layer, size_t head) { return layer.heads[head].*member; });
  }
  std::vector<std::pair<std::string, HeadMetric>> Take() { return std::move(list_); }

 private:
  const AnalysisReport& report_;
  std::vector<std::pair<std::string, HeadMetric>> list_;
};

void AddSinkRates(const AnalysisReport& report, HeadMetricList& list) {
  for (size_t i = 0; i < report.strongest.size(); ++i) {
    const StrongestSinkReport& sink = report.strongest[i];
    if (!report.HasLength(i)) continue;
    const std::string length = report.LengthName(sink.length);
    HeadMetric& metric = list.Add(
        absl::StrCat(names::kHeadSinkRate, "_", sink.threshold, "_", length),
        absl::StrCat("sink rate (eps ", sink.threshold, ", ", length, ")"),
        absl::StrCat("share of sequences whose mean weight on key 0 over the queries exceeds ",
                     sink.threshold),
        [i](const LayerReport& layer, size_t head) { return layer.heads[head].sinks[i].rate; });
    metric.sequences = sink.sequences;
    if (sink.length > 0) metric.tokens = sink.length;
  }
}

void AddShares(HeadMetricList& list) {
  list.Add(names::kHeadFirstKeyMass, "attention on the first key",
           "mean weight on key 0 over queries and sequences", &HeadSummary::first_key_mass);
  list.Add("first_key_argmax", "queries that look at the first key most",
           "share of queries whose largest weight is on key 0", &HeadSummary::first_key_argmax);
  list.Add("missing_mass", "mass off the keys", "mean of 1 - sum of the weights of a query",
           &HeadSummary::missing_mass);
  list.Add("empty_rows", "rows without any weight", "share of queries whose weights are all 0",
           &HeadSummary::empty_rows);
  list.Add(names::kHeadZeroShare, "exact zeros",
           "share of exactly zero weights among visible keys, diagonal included",
           &HeadSummary::zero_share);
  list.Add("near_zero_share", "weights of at most 1e-5",
           "share of weights |a| <= 1e-5 among visible keys, diagonal included",
           &HeadSummary::near_zero_share);
}

}  // namespace

int64_t AnalysisReport::AllHeads() const {
  int64_t all = 0;
  for (const LayerReport& one : layer) all += static_cast<int64_t>(one.heads.size());
  return all;
}

std::string AnalysisReport::LengthName(int64_t tokens) const {
  return absl::StrCat("T", tokens == 0 ? length : tokens);
}

bool AnalysisReport::HasLength(size_t index) const {
  const StrongestSinkReport& own = strongest[index];
  if (own.length > 0) return own.sequences > 0;
  return std::none_of(strongest.begin(), strongest.end(), [&](const StrongestSinkReport& other) {
    return other.length == length && other.sequences == own.sequences;
  });
}

std::vector<std::pair<std::string, HeadMetric>> AnalysisHeadMetrics(const AnalysisReport& report) {
  HeadMetricList list(report);
  AddSinkRates(report, list);
  AddShares(list);
  for (size_t i = 0; i < report.off_thresholds.size(); ++i) {
    list.Add(absl::StrCat(names::kHeadOffShare, "_", report.off_thresholds[i]),
             absl::StrCat("tokens with max_d |o_d| < ", report.off_thresholds[i]),
             "share of tokens at which the output of the head, before the projection, is almost 0",
             [i](const LayerReport& layer, size_t head) { return layer.off_share[head][i]; });
  }
  if (report.has_selected) {
    list.Add(names::kHeadBosAttention, "attention on BOS at non-trigger queries",
             "mean weight on key 0 over the queries that have nothing to copy",
             &HeadSummary::selected_first_mass);
  }
  list.Add(report.has_selected ? names::kHeadBosValueNorm : "value_norm_ratio",
           "first value norm / mean", "|v_0| over the mean |v_t|, t > 0, mean over sequences",
           [](const LayerReport& layer, size_t head) { return layer.value_norm_ratio[head]; })
      .unit = "ratio";
  return list.Take();
}

std::vector<std::pair<std::string, LayerProfile>> AnalysisProfiles(const AnalysisReport& report) {
  std::vector<std::pair<std::string, LayerProfile>> list;
  const std::vector<const HiddenSummary*> returned = ReturnedStates(report);
  std::vector<const HiddenSummary*> residual;
  for (const HiddenSummary& state : report.hidden) residual.push_back(&state);
  const auto add = [&](const char* name, const std::vector<const HiddenSummary*>& states,
                       const char* label, double HiddenSummary::*field, const char* definition) {
    LayerProfile profile;
    profile.label = label;
    profile.definition = definition;
    for (const HiddenSummary* state : states) profile.values.push_back(state->*field);
    list.emplace_back(name, std::move(profile));
  };
  const char* kReturned = "embedding, then each layer, the last one after the final norm";
  const char* kResidual = "embedding, then each layer, before the final norm";
  add(names::kMaxAbsHidden, returned, "largest |h|", &HiddenSummary::max_abs, kReturned);
  add("max_abs_residual", residual, "largest |h|", &HiddenSummary::max_abs, kResidual);
  add("top_over_median", residual, "top / median |h|", &HiddenSummary::top_over_median, kResidual);
  add("first_norm_ratio", residual, "|h_first| / median |h_t|", &HiddenSummary::first_norm_ratio,
      kResidual);
  add("massive", residual, "massive activations a sequence", &HiddenSummary::massive, kResidual);
  add("kurtosis_pooled", residual, "kurtosis, pooled over tokens", &HiddenSummary::kurtosis_pooled,
      kResidual);
  add("kurtosis_bondarenko", residual, "kurtosis over features", &HiddenSummary::kurtosis_token,
      kResidual);
  add("kurtosis_neuron", residual, "kurtosis of neuron RMS", &HiddenSummary::kurtosis_neuron,
      kResidual);
  return list;
}

void WriteAnalysis(const AnalysisReport& report, ResultsWriter& writer) {
  for (const auto& [name, metric] : AnalysisMetrics(report)) writer.Write(name, metric);
  for (const auto& [name, metric] : AnalysisHeadMetrics(report)) writer.Write(name, metric);
  for (const auto& [name, profile] : AnalysisProfiles(report)) writer.Write(name, profile);
  for (const auto& [name, map] : report.maps) writer.Write(name, map);
  std::vector<Box> boxes;
  for (const HiddenSummary* state : ReturnedStates(report)) {
    boxes.push_back({state->min, state->q1, state->median, state->q3, state->max});
  }
  writer.Write(names::kHiddenBoxes, boxes);
}

}  // namespace attnlab
