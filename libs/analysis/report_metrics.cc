// One number a run: the rows of docs/metrics.md, in their order.
#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "libs/analysis/report.h"
#include "libs/io/result_names.h"

namespace attnlab {
namespace {

constexpr double kDeadShare = 0.95, kMostlyDeadShare = 0.75;

using NamedMetrics = std::vector<std::pair<std::string, Metric>>;

// Collects metrics that share the number of sequences.
class MetricList {
 public:
  explicit MetricList(const AnalysisReport& report) : report_(report) {}

  Metric& Add(const std::string& name, double value, const std::string& label,
              const std::string& unit, const std::string& definition) {
    Metric metric;
    metric.value = value;
    metric.label = label;
    metric.unit = unit;
    metric.definition = definition;
    metric.tokens = report_.length;
    metric.sequences = report_.sequences;
    return list_.emplace_back(name, metric).second;
  }
  NamedMetrics Take() { return std::move(list_); }

 private:
  const AnalysisReport& report_;
  NamedMetrics list_;
};

template <class Value>
double MeanOverHeads(const AnalysisReport& report, Value value) {
  double sum = 0;
  for (const LayerReport& layer : report.layer) {
    for (const HeadSummary& head : layer.heads) sum += value(head);
  }
  return sum / static_cast<double>(report.AllHeads());
}

void AddSinks(const AnalysisReport& report, MetricList& list) {
  for (size_t i = 0; i < report.strongest.size(); ++i) {
    const StrongestSinkReport& strongest = report.strongest[i];
    if (!report.HasLength(i)) continue;
    const std::string length = report.LengthName(strongest.length);
    const std::string suffix = absl::StrCat("_", strongest.threshold, "_", length);
    const std::string shown = absl::StrCat(" (eps ", strongest.threshold, ", ", length, ")");
    const auto add = [&](const std::string& name, double value, const std::string& label,
                         const std::string& definition) {
      Metric& metric = list.Add(absl::StrCat(names::kSinkRate, name, suffix), value,
                                absl::StrCat(label, shown), "fraction", definition);
      metric.better = "lower";
      metric.sequences = strongest.sequences;
      if (strongest.length > 0) metric.tokens = strongest.length;
    };
    add("", MeanOverHeads(report, [&](const HeadSummary& head) { return head.sinks[i].rate; }),
        "sink rate",
        "share of (sequence, layer, head) whose mean attention on the first key exceeds eps "
        "(Gu et al. 2024; Zuhri et al. 2025), weights as they are");
    add("_any_key", strongest.raw.rate, absl::StrCat("sink rate of key ", strongest.raw.key),
        "largest Sink_k over keys k up to T/2 (Gu et al. 2024), weights as they are");
    if (report.normalised) continue;
    add("_proxy",
        MeanOverHeads(report, [&](const HeadSummary& head) { return head.sinks[i].proxy_rate; }),
        "sink rate*",
        "sink rate of rows divided by their sums (Gu et al. 2024, marked * there); rows that are "
        "all zero stay zero");
    add("_any_key_proxy", strongest.proxy.rate,
        absl::StrCat("sink rate* of key ", strongest.proxy.key),
        "largest Sink_k over keys k up to T/2, rows divided by their sums");
  }
}

void AddMass(const AnalysisReport& report, MetricList& list) {
  const auto share = [&](const char* name, double HeadSummary::*field, const char* label,
                         const char* definition) {
    list.Add(name, MeanOverHeads(report, [&](const HeadSummary& head) { return head.*field; }),
             label, "fraction", definition);
  };
  share(names::kFirstKeyMass, &HeadSummary::first_key_mass, "attention on the first key",
        "mean weight on key 0 over queries, heads and layers (F-Attn of Qiu et al. 2025)");
  share(names::kFirstKeyArgmax, &HeadSummary::first_key_argmax, "first key is the arg-max",
        "share of queries whose largest weight is on key 0 (Kaul et al. 2025)");
  share("missing_mass", &HeadSummary::missing_mass, "mass off the keys",
        "mean of 1 - sum of a row: what a virtual slot, or nothing, receives");
  share("empty_rows", &HeadSummary::empty_rows, "rows without any weight",
        "share of query rows whose weights are all 0");
  share(names::kZeroShare, &HeadSummary::zero_share, "exact zeros of the causal triangle",
        "share of exactly zero weights among visible keys, diagonal included, float32");
  share("zero_share_fp16", &HeadSummary::half_zero_share, "zeros after rounding to float16",
        "share of weights of at most 2^-25, which float16 rounds to 0 (Zuhri et al. 2025)");
  share(names::kNearZeroShare, &HeadSummary::near_zero_share, "weights of at most 1e-5",
        "share of weights |a| <= 1e-5 among visible keys");
}

// The head that looks at BOS most where it has nothing to copy, and what it reads there.
void AddSelected(const AnalysisReport& report, MetricList& list) {
  if (!report.has_selected) return;
  double mass = -1, value_norm = 0;
  for (const LayerReport& layer : report.layer) {
    for (size_t head = 0; head < layer.heads.size(); ++head) {
      if (layer.heads[head].selected_first_mass <= mass) continue;
      mass = layer.heads[head].selected_first_mass;
      value_norm = layer.value_norm_ratio[head];
    }
  }
  list.Add(names::kBosAttention, mass, "attention on BOS at non-trigger queries, strongest head",
           "fraction", "mean weight on key 0 over the selected queries, largest over heads");
  list.Add(names::kBosValueNorm, value_norm, "BOS value norm of that head / mean", "ratio",
           "|v_0| over the mean |v_t|, t > 0, of the head of bos_attention");
}

void AddDeadHeads(const AnalysisReport& report, MetricList& list) {
  for (size_t i = 0; i < report.off_thresholds.size(); ++i) {
    const auto count = [&](double share) {
      int64_t dead = 0;
      for (const LayerReport& layer : report.layer) {
        for (const std::vector<double>& off : layer.off_share) dead += off[i] > share;
      }
      return static_cast<double>(dead) / static_cast<double>(report.AllHeads());
    };
    const std::string eps = absl::StrCat(report.off_thresholds[i]);
    list.Add(absl::StrCat(names::kDeadHeads, "_", eps), count(kDeadShare),
             absl::StrCat("dead heads (eps ", eps, ")"), "fraction",
             absl::StrCat("share of heads with max_d |o_d| < ", eps,
                          " at more than 95 % of the tokens (Zuhri et al. 2025)"))
        .better = "lower";
    list.Add(absl::StrCat("mostly_dead_heads_", eps), count(kMostlyDeadShare),
             absl::StrCat("mostly dead heads (eps ", eps, ")"), "fraction",
             absl::StrCat("the same at more than 75 % of the tokens"));
  }
}

double Largest(const std::vector<HiddenSummary>& states, double HiddenSummary::*field) {
  double largest = states[0].*field;
  for (const HiddenSummary& state : states) largest = std::max(largest, state.*field);
  return largest;
}

// Over the layers' outputs, the embedding aside.
double MeanOverLayers(const AnalysisReport& report, double HiddenSummary::*field) {
  double sum = 0;
  for (int64_t i = 1; i <= report.layers; ++i) sum += report.hidden[i].*field;
  return sum / static_cast<double>(report.layers);
}

double MeanAttentionOutput(const AnalysisReport& report, double HiddenSummary::*field) {
  double sum = 0;
  for (const LayerReport& layer : report.layer) sum += layer.attention_output.*field;
  return sum / static_cast<double>(report.layers);
}

void AddActivations(const AnalysisReport& report, MetricList& list) {
  const auto add = [&](const std::string& name, double value, const char* label,
                       const char* definition) { list.Add(name, value, label, "", definition); };
  add(names::kActivationMin, report.pooled.min(), "smallest activation",
      "over embedding, layers and the final norm's output (Zuhri et al. 2025)");
  add(names::kActivationMax, report.pooled.max(), "largest activation",
      "over embedding, layers and the final norm's output (Zuhri et al. 2025)");
  add("residual_max_abs", report.pooled_residual.max_abs(), "largest |h| of the residual stream",
      "over embedding and layers, before the final norm");
  add("top_over_median", Largest(report.hidden, &HiddenSummary::top_over_median),
      "top / median |h|, largest layer",
      "max |h| over median |h| of a sequence's hidden state, mean over sequences");
  add("first_norm_ratio", Largest(report.hidden, &HiddenSummary::first_norm_ratio),
      "|h_first| / median |h_t|, largest layer",
      "norm of the first token's hidden state over the median of later ones, mean over sequences");
  add("first_norm_over_mean", Largest(report.hidden, &HiddenSummary::first_norm_over_mean),
      "|h_first| / mean |h_t|, largest layer",
      "norm of the first token's hidden state over the mean of later ones, mean over sequences");
  add("massive", Largest(report.hidden, &HiddenSummary::massive),
      "massive activations, largest layer",
      "values a sequence with |h| > 100 and |h| >= 1000 median |h| (Sun et al. 2024)");
  add("massive_relative", Largest(report.hidden, &HiddenSummary::massive_relative),
      "relative massive activations, largest layer",
      "values a sequence with |h| >= 1000 median |h|, whatever their size");
  double drain = report.layer[0].value_norm_ratio[0];
  for (const LayerReport& layer : report.layer) {
    for (double ratio : layer.value_norm_ratio) drain = std::min(drain, ratio);
  }
  add("value_norm_ratio", drain, "|v_first| / mean |v_t|, smallest head",
      "norm of the first token's value over the mean of later ones, mean over sequences");
}

void AddKurtosis(const AnalysisReport& report, MetricList& list) {
  const auto add = [&](const char* name, double value, const char* label, const char* definition) {
    list.Add(absl::StrCat(names::kKurtosis, name), value, label, "", definition).better = "lower";
  };
  add("_pooled", report.pooled.Kurtosis(), "kurtosis, pooled",
      "m4 / m2^2 of all hidden states as one sample: embedding, layers, the last after the final "
      "norm (Zuhri et al. 2025); normal = 3");
  add("_pooled_residual", report.pooled_residual.Kurtosis(), "kurtosis, pooled residual stream",
      "the same with the last layer before the final norm");
  add("_bondarenko", MeanOverLayers(report, &HiddenSummary::kurtosis_token),
      "kurtosis over features, mean over tokens and layers",
      "m4 / (s^4 + 1e-6) of a token's features (Bondarenko et al. 2023), layer outputs");
  add("_bondarenko_max", Largest(report.hidden, &HiddenSummary::kurtosis_token),
      "kurtosis over features, largest layer", "the same, largest over embedding and layers");
  add("_bondarenko_attention", MeanAttentionOutput(report, &HiddenSummary::kurtosis_token),
      "kurtosis of attention outputs", "the same of the heads' outputs before the projection");
  add("_sequence", MeanOverLayers(report, &HiddenSummary::kurtosis_sequence),
      "kurtosis over sequences, mean over layers",
      "m4 / (s^4 + 1e-6) of all values of a sequence, as the code of Bondarenko et al. 2023 does");
  add("_sequence_max", Largest(report.hidden, &HiddenSummary::kurtosis_sequence),
      "kurtosis over sequences, largest layer", "the same, largest over embedding and layers");
  add("_excess", MeanOverLayers(report, &HiddenSummary::kurtosis_excess),
      "excess kurtosis, mean over tokens and layers",
      "max(0, E[x^4] / sd^4 - 3) of a token's features, fourth moment about 0 (Park et al. 2025)");
  add("_neuron", MeanOverLayers(report, &HiddenSummary::kurtosis_neuron),
      "kurtosis of neuron RMS, mean over layers",
      "m4 / m2^2 about 0 of the features' root mean squares (Kaul et al. 2025); 1 = all alike");
  list.Add("inf_norm", Largest(report.hidden, &HiddenSummary::inf_norm), "largest inf-norm", "",
           "max |h| of a sequence, mean over sequences, largest layer (Bondarenko et al. 2023)");
}

}  // namespace

std::vector<std::pair<std::string, Metric>> AnalysisMetrics(const AnalysisReport& report) {
  MetricList list(report);
  AddSinks(report, list);
  AddMass(report, list);
  AddSelected(report, list);
  AddDeadHeads(report, list);
  AddActivations(report, list);
  AddKurtosis(report, list);
  return list.Take();
}

}  // namespace attnlab
