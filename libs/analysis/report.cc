#include "libs/analysis/report.h"

#include <functional>

#include "absl/strings/str_cat.h"
#include "libs/io/result_names.h"

namespace attnlab {
namespace {

// The hidden states as transformers returns them: embedding, layers, the last after the final norm.
std::vector<const HiddenSummary*> ReturnedStates(const AnalysisReport& report) {
  std::vector<const HiddenSummary*> states;
  for (int64_t i = 0; i < report.layers; ++i) states.push_back(&report.hidden[i]);
  states.push_back(&report.final_norm);
  return states;
}

}  // namespace

std::string AnalysisReport::LengthName(int64_t tokens) const {
  return absl::StrCat("T", tokens == 0 ? length : tokens);
}

std::vector<std::pair<std::string, HeadMetric>> AnalysisHeadMetrics(const AnalysisReport& report) {
  std::vector<std::pair<std::string, HeadMetric>> list;
  const auto add = [&](const std::string& name, const std::string& label, int64_t tokens,
                       const std::function<double(const LayerReport&, size_t)>& value) {
    HeadMetric metric;
    metric.layers = report.layers;
    metric.heads = report.heads;
    metric.label = label;
    metric.unit = "fraction";
    metric.definition = absl::StrCat(label, " of each head; docs/metrics.md");
    metric.tokens = tokens;
    metric.sequences = report.sequences;
    for (const LayerReport& layer : report.layer) {
      for (int64_t head = 0; head < report.heads; ++head) {
        metric.values.push_back(value(layer, head));
      }
    }
    list.emplace_back(name, std::move(metric));
  };
  const auto field = [&](const char* name, const char* label, double HeadSummary::*member) {
    add(name, label, report.length,
        [member](const LayerReport& layer, size_t head) { return layer.heads[head].*member; });
  };
  for (size_t i = 0; i < report.strongest.size(); ++i) {
    const StrongestSinkReport& sink = report.strongest[i];
    if (sink.sequences == 0) continue;
    const std::string length = report.LengthName(sink.length);
    add(absl::StrCat(names::kHeadSinkRate, "_", sink.threshold, "_", length),
        absl::StrCat("sink rate (eps ", sink.threshold, ", ", length, ")"),
        sink.length == 0 ? report.length : sink.length,
        [i](const LayerReport& layer, size_t head) { return layer.heads[head].sinks[i].rate; });
  }
  field(names::kHeadFirstKeyMass, "attention on the first key", &HeadSummary::first_key_mass);
  field("first_key_argmax", "queries that look at the first key most",
        &HeadSummary::first_key_argmax);
  field("missing_mass", "mass off the keys", &HeadSummary::missing_mass);
  field("empty_rows", "rows without any weight", &HeadSummary::empty_rows);
  field(names::kHeadZeroShare, "exact zeros", &HeadSummary::zero_share);
  field("near_zero_share", "weights of at most 1e-5", &HeadSummary::near_zero_share);
  for (size_t i = 0; i < report.off_thresholds.size(); ++i) {
    add(absl::StrCat(names::kHeadOffShare, "_", report.off_thresholds[i]),
        absl::StrCat("tokens with max_d |o_d| < ", report.off_thresholds[i]), report.length,
        [i](const LayerReport& layer, size_t head) { return layer.off_share[head][i]; });
  }
  if (report.has_selected) {
    field(names::kHeadBosAttention, "attention on BOS at non-trigger queries",
          &HeadSummary::selected_first_mass);
  }
  add(report.has_selected ? names::kHeadBosValueNorm : "value_norm_ratio",
      "first value norm / mean", report.length,
      [](const LayerReport& layer, size_t head) { return layer.value_norm_ratio[head]; });
  list.back().second.unit = "ratio";
  return list;
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
