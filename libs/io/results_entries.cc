#include "libs/io/results_entries.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/core/status.h"
#include "libs/io/results_attributes.h"

namespace attnlab {
namespace {

int64_t Size(size_t size) { return static_cast<int64_t>(size); }

}  // namespace

std::vector<double> HeadMetric::Present() const {
  if (layer_heads.empty()) return values;
  std::vector<double> present;
  for (int64_t layer = 0; layer < layers; ++layer) {
    const auto row = values.begin() + layer * heads;
    present.insert(present.end(), row, row + layer_heads[layer]);
  }
  return present;
}

absl::Status Inconsistent(const std::string& path) {
  return absl::InvalidArgumentError(absl::StrCat(path, ": its arrays do not fit each other"));
}

void Store(h5::Builder& builder, const std::string& path, Series& series) {
  series.info.ForEach(AttributeWriter{builder, path});
  builder.Dataset(path + "/step", absl::MakeConstSpan(series.steps), {Size(series.steps.size())});
  builder.Dataset(path + "/value", absl::MakeConstSpan(series.values),
                  {Size(series.values.size())});
}

absl::Status Load(const h5::Reader& reader, const std::string& path, Series& series) {
  ATTNLAB_RETURN_IF_ERROR(ReadAttributes(reader, path, series.info));
  ATTNLAB_ASSIGN_OR_RETURN(auto steps, reader.Integers(path + "/step"));
  ATTNLAB_ASSIGN_OR_RETURN(auto values, reader.Doubles(path + "/value"));
  series.steps = std::move(steps.values);
  series.values = std::move(values.values);
  const bool fits = series.steps.size() == series.values.size() &&
                    std::is_sorted(series.steps.begin(), series.steps.end());
  return fits ? absl::OkStatus() : Inconsistent(path);
}

void Store(h5::Builder& builder, const std::string& path, Metric& metric) {
  metric.ForEach(AttributeWriter{builder, path});
}

absl::Status Load(const h5::Reader& reader, const std::string& path, Metric& metric) {
  return ReadAttributes(reader, path, metric);
}

void Store(h5::Builder& builder, const std::string& path, EvalScore& score) {
  score.ForEach(AttributeWriter{builder, path});
  if (!score.per_example.empty())
    builder.Dataset(path + "/per_example", absl::MakeConstSpan(score.per_example),
                    {Size(score.per_example.size())});
}

absl::Status Load(const h5::Reader& reader, const std::string& path, EvalScore& score) {
  ATTNLAB_RETURN_IF_ERROR(ReadAttributes(reader, path, score));
  if (!reader.Has(path + "/per_example")) return absl::OkStatus();
  ATTNLAB_ASSIGN_OR_RETURN(auto per_example, reader.Doubles(path + "/per_example"));
  score.per_example = std::move(per_example.values);
  return absl::OkStatus();
}

void Store(h5::Builder& builder, const std::string& path, Histogram& histogram) {
  builder.Attribute(path, "step", histogram.step);
  builder.Dataset(path + "/edges", absl::MakeConstSpan(histogram.edges),
                  {Size(histogram.edges.size())});
  builder.Dataset(path + "/counts", absl::MakeConstSpan(histogram.counts),
                  {Size(histogram.counts.size())});
}

absl::Status Load(const h5::Reader& reader, const std::string& path, Histogram& histogram) {
  ATTNLAB_RETURN_IF_ERROR(reader.Attribute(path, "step", histogram.step));
  ATTNLAB_ASSIGN_OR_RETURN(auto edges, reader.Doubles(path + "/edges"));
  ATTNLAB_ASSIGN_OR_RETURN(auto counts, reader.Doubles(path + "/counts"));
  histogram.edges = std::move(edges.values);
  histogram.counts = std::move(counts.values);
  return histogram.edges.size() == histogram.counts.size() + 1 ? absl::OkStatus()
                                                               : Inconsistent(path);
}

void Store(h5::Builder& builder, const std::string& path, HeadMetric& metric) {
  metric.ForEach(AttributeWriter{builder, path});
  builder.Dataset(path + "/value", absl::MakeConstSpan(metric.values),
                  {metric.layers, metric.heads});
  if (!metric.layer_heads.empty())
    builder.Dataset(path + "/heads", absl::MakeConstSpan(metric.layer_heads), {metric.layers});
}

absl::Status Load(const h5::Reader& reader, const std::string& path, HeadMetric& metric) {
  ATTNLAB_RETURN_IF_ERROR(ReadAttributes(reader, path, metric));
  ATTNLAB_ASSIGN_OR_RETURN(auto values, reader.Doubles(path + "/value"));
  if (values.shape.size() != 2) return Inconsistent(path);
  metric.layers = values.shape[0];
  metric.heads = values.shape[1];
  metric.values = std::move(values.values);
  if (!reader.Has(path + "/heads")) return absl::OkStatus();
  ATTNLAB_ASSIGN_OR_RETURN(auto heads, reader.Integers(path + "/heads"));
  metric.layer_heads = std::move(heads.values);
  const bool fits = Size(metric.layer_heads.size()) == metric.layers &&
                    std::all_of(metric.layer_heads.begin(), metric.layer_heads.end(),
                                [&](int64_t n) { return n >= 0 && n <= metric.heads; });
  return fits ? absl::OkStatus() : Inconsistent(path);
}

void Store(h5::Builder& builder, const std::string& path, LayerProfile& profile) {
  profile.ForEach(AttributeWriter{builder, path});
  builder.Dataset(path + "/value", absl::MakeConstSpan(profile.values),
                  {Size(profile.values.size())});
}

absl::Status Load(const h5::Reader& reader, const std::string& path, LayerProfile& profile) {
  ATTNLAB_RETURN_IF_ERROR(ReadAttributes(reader, path, profile));
  ATTNLAB_ASSIGN_OR_RETURN(auto values, reader.Doubles(path + "/value"));
  profile.values = std::move(values.values);
  return absl::OkStatus();
}

void Store(h5::Builder& builder, const std::string& path, AttentionMap& map) {
  map.ForEach(AttributeWriter{builder, path});
  builder.Dataset(path + "/value", absl::MakeConstSpan(map.values), {map.rows, map.cols});
  if (!map.tokens.empty()) builder.Dataset(path + "/tokens", map.tokens);
}

absl::Status Load(const h5::Reader& reader, const std::string& path, AttentionMap& map) {
  ATTNLAB_RETURN_IF_ERROR(ReadAttributes(reader, path, map));
  ATTNLAB_ASSIGN_OR_RETURN(auto values, reader.Floats(path + "/value"));
  if (values.shape.size() != 2) return Inconsistent(path);
  map.rows = values.shape[0];
  map.cols = values.shape[1];
  map.values = std::move(values.values);
  if (!reader.Has(path + "/tokens")) return absl::OkStatus();
  ATTNLAB_ASSIGN_OR_RETURN(map.tokens, reader.Strings(path + "/tokens"));
  return Size(map.tokens.size()) == map.cols ? absl::OkStatus() : Inconsistent(path);
}

void Store(h5::Builder& builder, const std::string& path, std::vector<Box>& boxes) {
  std::vector<double> values;
  for (const Box& box : boxes)
    values.insert(values.end(), {box.min, box.q1, box.median, box.q3, box.max});
  builder.Dataset(path + "/value", absl::MakeConstSpan(values), {Size(boxes.size()), 5});
}

absl::Status Load(const h5::Reader& reader, const std::string& path, std::vector<Box>& boxes) {
  ATTNLAB_ASSIGN_OR_RETURN(auto values, reader.Doubles(path + "/value"));
  if (values.shape.size() != 2 || values.shape[1] != 5) return Inconsistent(path);
  for (size_t i = 0; i < values.values.size(); i += 5) {
    const double* v = &values.values[i];
    boxes.push_back({v[0], v[1], v[2], v[3], v[4]});
  }
  return absl::OkStatus();
}

void Store(h5::Builder& builder, const std::string& path, Claim& claim) {
  claim.ForEach(AttributeWriter{builder, path});
}

absl::Status Load(const h5::Reader& reader, const std::string& path, Claim& claim) {
  return ReadAttributes(reader, path, claim);
}

}  // namespace attnlab
