#include "libs/analysis/probe.h"

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "libs/attention/reference.h"
#include "libs/core/check.h"

namespace attnlab {
namespace {

constexpr double kNormalised = 1e-3;

at::Tensor CpuFloats(const at::Tensor& tensor) {
  return tensor.to(at::TensorOptions().device(at::kCPU).dtype(at::kFloat)).contiguous();
}

absl::Span<const float> Floats(const at::Tensor& tensor) {
  return {tensor.data_ptr<float>(), static_cast<size_t>(tensor.numel())};
}

// Whether item `index` of `count` is one of at most `limit` evenly spaced ones.
bool EvenlyChosen(int64_t index, int64_t count, int64_t limit) {
  const int64_t stride = (count + limit - 1) / limit;
  return index % stride == 0;
}

AttentionMetricOptions MetricOptions(const ModelConfig& config, const AnalysisOptions& options) {
  return {options.lengths, options.thresholds, config.attention.causal};
}

}  // namespace

AnalysisProbe::AnalysisProbe(const ModelConfig& config, const AnalysisOptions& options)
    : heads_(config.num_attention_heads),
      group_size_(config.GroupSize()),
      options_(options),
      hidden_(config.num_hidden_layers + 1, HiddenStats(config.hidden_size)),
      final_norm_(config.hidden_size) {
  for (int64_t i = 0; i < config.num_hidden_layers; ++i) {
    const int64_t heads = config.Heads(i);
    layers_.push_back(
        {std::vector<HeadAttention>(heads, HeadAttention(MetricOptions(config, options))),
         std::vector<OffTokens>(heads, OffTokens(options.off_thresholds)),
         std::vector<double>(config.KeyValueHeads(i)), 0, HiddenStats(heads * config.HeadDim())});
  }
}

void AnalysisProbe::BeginBatch(AnalysisBatch batch) {
  const size_t tokens = batch.lengths.size() * batch.columns;
  ATTNLAB_CHECK(batch.selected.empty() || batch.selected.size() == tokens);
  ATTNLAB_CHECK(batch.tokens.empty() || batch.tokens.size() == tokens);
  sequences_ += static_cast<int64_t>(batch_.lengths.size());
  batch_ = std::move(batch);
  for (int64_t length : batch_.lengths) {
    ATTNLAB_CHECK(length >= 1 && length <= batch_.columns);
    longest_ = std::max(longest_, length);
  }
  has_selected_ = has_selected_ || !batch_.selected.empty();
}

void AnalysisProbe::AddHidden(const at::Tensor& hidden, HiddenStats& stats) const {
  ATTNLAB_CHECK(hidden.size(0) == static_cast<int64_t>(batch_.lengths.size()) &&
                    hidden.size(1) == batch_.columns,
                "the forward pass is not the announced batch");
  const at::Tensor values = CpuFloats(hidden);
  const int64_t rows = values.size(0), features = values.size(2);
  std::vector<HiddenStats> parts(rows, HiddenStats(features));
  at::parallel_for(0, rows, 1, [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      const auto begin = static_cast<size_t>(row * batch_.columns * features);
      const auto count = static_cast<size_t>(batch_.lengths[row] * features);
      parts[row].AddSequence(Floats(values).subspan(begin, count));
    }
  });
  for (const HiddenStats& part : parts) stats.Merge(part);
}

void AnalysisProbe::OnHidden(int64_t index, const at::Tensor& hidden) {
  AddHidden(hidden, hidden_[index]);
}

void AnalysisProbe::OnFinalNorm(const at::Tensor& hidden) { AddHidden(hidden, final_norm_); }

void AnalysisProbe::OnAttention(int64_t layer, const at::Tensor& q, const at::Tensor& k,
                                const at::Tensor& v, const at::Tensor& out,
                                const AttentionOptions& options,
                                const std::vector<at::Tensor>& head_parameters) {
  const c10::AutoGradMode no_gradient(false);
  ATTNLAB_CHECK(q.size(2) == k.size(2), "the analysis sees whole sequences only");
  for (int64_t row = 0; row < q.size(0); ++row) {
    const auto one = [&](const at::Tensor& tensor) {
      return tensor.narrow(0, row, 1).narrow(2, 0, batch_.lengths[row]);
    };
    AddWeights(layer, row, one(q), one(k), options, head_parameters);
    AddOutputs(layers_[layer], one(out), one(v));
  }
  AddHidden(out.transpose(1, 2).flatten(2), layers_[layer].output);  // [B, T, H Dv]
}

void AnalysisProbe::AddWeights(int64_t layer, int64_t row,
                               const at::Tensor& q,  // [1, H, T, D]
                               const at::Tensor& k,  // [1, Hkv, T, D]
                               const AttentionOptions& options,
                               const std::vector<at::Tensor>& head_parameters) {
  const at::Tensor queries = q.to(at::kFloat), keys = k.to(at::kFloat);
  const int64_t count = q.size(1), length = q.size(2);
  const int64_t block = std::clamp<int64_t>(options_.block_entries / (count * length), 1, length);
  std::vector<HeadAttention>& heads = layers_[layer].heads;
  for (HeadAttention& head : heads) head.BeginSequence(length);
  for (int64_t begin = 0; begin < length; begin += block) {
    const int64_t end = std::min(begin + block, length);
    const at::Tensor weights =
        CpuFloats(AttentionWeights(queries, keys, options, head_parameters, begin, end));
    at::parallel_for(0, count, 1, [&](int64_t first, int64_t last) {
      for (int64_t head = first; head < last; ++head) {
        for (int64_t query = begin; query < end; ++query) {
          const float* values =
              weights.data_ptr<float>() + (head * (end - begin) + query - begin) * length;
          const size_t visible = options.causal ? query + 1 : length;
          const bool selected =
              !batch_.selected.empty() && batch_.selected[row * batch_.columns + query];
          heads[head].AddRow({values, visible}, selected);
        }
      }
    });
    if (WantsMap(layer, row)) KeepMapRows(layer, row, weights, begin);
  }
}

void AnalysisProbe::AddOutputs(Layer& layer,
                               const at::Tensor& out,            // [1, H, T, Dv]
                               const at::Tensor& v) const {      // [1, Hkv, T, Dv]
  const at::Tensor outputs = CpuFloats(out[0].transpose(0, 1));  // [T, H, Dv]
  const absl::Span<const float> values = Floats(outputs);
  const size_t heads = layer.heads.size(), size = out.size(3);
  for (size_t i = 0; i * size < values.size(); ++i) {
    layer.off[i % heads].Add(values.subspan(i * size, size));
  }
  if (out.size(2) < 2) return;
  for (int64_t head = 0; head < v.size(1); ++head) {
    const at::Tensor one = CpuFloats(v[0][head]);
    layer.value_norm_ratio[head] += FirstOverMean(RowNorms(Floats(one), v.size(3)));
  }
  ++layer.value_sequences;
}

bool AnalysisProbe::WantsMap(int64_t layer, int64_t row) const {
  return sequences_ + row < options_.map_sequences &&
         EvenlyChosen(layer, static_cast<int64_t>(layers_.size()), options_.map_layers);
}

void AnalysisProbe::KeepMapRows(int64_t layer, int64_t row,
                                const at::Tensor& weights,  // [1, H, rows, T]
                                int64_t row_begin) {
  const int64_t size = std::min(options_.map_length, weights.size(3));
  if (row_begin >= size) return;
  const int64_t heads = weights.size(1), rows = std::min(weights.size(2), size - row_begin);
  for (int64_t head = 0; head < heads; ++head) {
    if (!EvenlyChosen(head, heads, options_.map_heads)) continue;
    const std::string label = absl::StrCat("sequence ", sequences_ + row);
    auto map = std::find_if(maps_.begin(), maps_.end(), [&](const AttentionMap& other) {
      return other.layer == layer && other.head == head && other.label == label;
    });
    if (map == maps_.end()) {
      map = maps_.insert(maps_.end(), AttentionMap());
      map->rows = map->cols = size;
      map->layer = layer;
      map->head = head;
      map->label = label;
      for (int64_t i = 0; i < size && options_.token_text && !batch_.tokens.empty(); ++i) {
        map->tokens.push_back(options_.token_text(batch_.tokens[row * batch_.columns + i]));
      }
    }
    for (int64_t i = 0; i < rows; ++i) {
      const float* values =
          weights.data_ptr<float>() + (head * weights.size(2) + i) * weights.size(3);
      map->values.insert(map->values.end(), values, values + size);
    }
  }
}

LayerReport AnalysisProbe::Summarise(const Layer& layer) const {
  LayerReport report;
  for (size_t head = 0; head < layer.heads.size(); ++head) {
    report.heads.push_back(layer.heads[head].Summary());
    report.value_norm_ratio.push_back(layer.value_norm_ratio[head / group_size_] /
                                      static_cast<double>(layer.value_sequences));
    std::vector<double>& shares = report.off_share.emplace_back();
    for (size_t i = 0; i < options_.off_thresholds.size(); ++i) {
      shares.push_back(layer.off[head].Share(i));
    }
  }
  report.attention_output = layer.output.Summary();
  return report;
}

AnalysisReport AnalysisProbe::Finish() const {
  AnalysisReport report;
  report.layers = static_cast<int64_t>(layers_.size());
  report.heads = heads_;
  report.sequences = sequences_ + static_cast<int64_t>(batch_.lengths.size());
  report.length = longest_;
  report.off_thresholds = options_.off_thresholds;
  report.has_selected = has_selected_;
  std::vector<const HeadAttention*> all;
  for (const Layer& layer : layers_) {
    report.layer.push_back(Summarise(layer));
    for (const HeadAttention& head : layer.heads) all.push_back(&head);
    for (const HeadSummary& head : report.layer.back().heads) {
      report.normalised = report.normalised && head.largest_row_error < kNormalised;
    }
  }
  for (const HiddenStats& stats : hidden_) {
    report.hidden.push_back(stats.Summary());
    report.pooled_residual.Merge(stats.moments());
    if (&stats != &hidden_.back()) report.pooled.Merge(stats.moments());
  }
  report.final_norm = final_norm_.Summary();
  report.pooled.Merge(final_norm_.moments());
  for (size_t i = 0; i < options_.lengths.size(); ++i) {
    for (size_t e = 0; e < options_.thresholds.size(); ++e) {
      report.strongest.push_back(
          {options_.lengths[i], options_.thresholds[e], all[0]->key_hits()[i].sequences,
           FindStrongestSink(all, i, e, false), FindStrongestSink(all, i, e, true)});
    }
  }
  for (const AttentionMap& map : maps_) {
    const std::string name = absl::StrCat("layer", map.layer, "_head", map.head, "_",
                                          absl::StrReplaceAll(map.label, {{" ", ""}}));
    report.maps.emplace_back(name, map);
    report.maps.back().second.unit_scale = report.normalised;
  }
  return report;
}

}  // namespace attnlab
