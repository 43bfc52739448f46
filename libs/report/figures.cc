#include "libs/report/figures.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "libs/report/text.h"

namespace attnlab {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr size_t kMostBoxes = 14;  // layers of a box plot
constexpr size_t kMostNames = 16;  // tokens that are written along a map

template <class Entry>
std::vector<std::string> NamesOf(const RunSet& set,
                                 std::map<std::string, Entry> RunResults::*part) {
  std::set<std::string> names;
  for (const ReportRun& run : set.runs) {
    for (const auto& [name, entry] : run.results.*part) names.insert(name);
  }
  return {names.begin(), names.end()};
}

template <class Entry>
const Entry* Find(const ReportRun& run, std::map<std::string, Entry> RunResults::*part,
                  const std::string& name) {
  const auto& entries = run.results.*part;
  const auto it = entries.find(name);
  return it == entries.end() ? nullptr : &it->second;
}

}  // namespace

std::vector<std::string> SeriesNames(const RunSet& set) {
  return NamesOf(set, &RunResults::series);
}
std::vector<std::string> HeadMetricNames(const RunSet& set) {
  return NamesOf(set, &RunResults::attention);
}
std::vector<std::string> LayerProfileNames(const RunSet& set) {
  return NamesOf(set, &RunResults::layers);
}
std::vector<std::string> MapNames(const RunSet& set) { return NamesOf(set, &RunResults::maps); }
std::vector<std::string> BoxNames(const RunSet& set) { return NamesOf(set, &RunResults::boxes); }
std::vector<std::string> HistogramNames(const RunSet& set) {
  return NamesOf(set, &RunResults::histograms);
}

Figure HeadFigure(const RunSet& set, const std::string& name) {
  Figure figure;
  double high = 0;
  bool fraction = false;
  for (const ReportRun& run : set.runs) {
    const HeadMetric* metric = Find(run, &RunResults::attention, name);
    if (metric == nullptr || metric->values.empty()) continue;
    figure.title = LabelOf(name, metric->label);
    figure.caption = metric->definition;
    fraction = metric->unit == "fraction";
    for (const double value : metric->values) {
      if (std::isfinite(value)) high = std::max(high, value);
    }
    HeatMap map;
    map.title = run.label;
    map.x_label = "head";
    map.y_label = "layer";
    map.rows = metric->layers;
    map.cols = metric->heads;
    map.values = metric->values;
    map.percent = fraction;
    figure.plots.push_back(std::move(map));
  }
  for (Plot& plot : figure.plots) std::get<HeatMap>(plot).high = fraction || high == 0 ? 1 : high;
  return figure;
}

std::vector<Plot> LayerPlots(const RunSet& set, const std::string& name) {
  LinePlot plot;
  plot.x_label = "layer";
  plot.whole_x = true;
  for (const RunGroup& group : set.groups) {
    bool labelled = false;
    for (const size_t i : group.runs) {
      const LayerProfile* profile = Find(set.runs[i], &RunResults::layers, name);
      if (profile == nullptr || profile->values.empty()) continue;
      plot.title = LabelOf(name, profile->label);
      plot.y_label = profile->unit;
      Curve curve;
      curve.color = group.color;
      curve.label = labelled ? "" : group.label;
      curve.points = true;
      for (size_t layer = 0; layer < profile->values.size(); ++layer) {
        curve.x.push_back(static_cast<double>(layer));
        curve.y.push_back(profile->values[layer]);
      }
      labelled = true;
      plot.curves.push_back(std::move(curve));
    }
  }
  if (plot.curves.empty()) return {};
  return {plot};
}

Figure BoxFigure(const RunSet& set, const std::string& name) {
  BoxPlot plot;
  size_t layers = 0;
  for (const ReportRun& run : set.runs) {
    if (const auto* boxes = Find(run, &RunResults::boxes, name))
      layers = std::max(layers, boxes->size());
  }
  const size_t stride = std::max<size_t>(1, (layers + kMostBoxes - 1) / kMostBoxes);
  for (size_t layer = 0; layer < layers; layer += stride)
    plot.places.push_back(static_cast<int64_t>(layer));
  if (layers > 0 && static_cast<size_t>(plot.places.back()) + 1 < layers)
    plot.places.push_back(static_cast<int64_t>(layers) - 1);
  for (const ReportRun& run : set.runs) {
    const auto* boxes = Find(run, &RunResults::boxes, name);
    if (boxes == nullptr) continue;
    BoxGroup group{run.label, run.color, {}, {}, {}, {}, {}};
    for (const int64_t place : plot.places) {
      const bool there = place < static_cast<int64_t>(boxes->size());
      const Box box = there ? (*boxes)[place] : Box{kNan, kNan, kNan, kNan, kNan};
      group.min.push_back(box.min);
      group.q1.push_back(box.q1);
      group.median.push_back(box.median);
      group.q3.push_back(box.q3);
      group.max.push_back(box.max);
    }
    plot.groups.push_back(std::move(group));
  }
  Figure figure;
  if (plot.groups.empty() || plot.places.empty()) return figure;
  plot.x_label = "layer";
  plot.y_label = "value";
  plot.width = static_cast<int>(
      std::clamp<size_t>(160 + plot.places.size() * (24 + 26 * plot.groups.size()), 420, 1100));
  figure.caption =
      "Whiskers reach from the smallest to the largest value, boxes from the lower to the upper "
      "quartile, the bar is the median. 0 is the embedding; the last one follows the final norm.";
  figure.plots.push_back(std::move(plot));
  return figure;
}

std::vector<Plot> MapPlots(const RunSet& set, const std::string& name) {
  std::vector<Plot> plots;
  for (const RunGroup& group : set.groups) {
    const AttentionMap* map = Find(set.runs[group.runs[0]], &RunResults::maps, name);
    if (map == nullptr || map->values.empty()) continue;
    HeatMap plot;
    plot.title = absl::StrCat(group.label, ", layer ", map->layer, " head ", map->head);
    plot.x_label = "key";
    plot.y_label = "query";
    plot.rows = map->rows;
    plot.cols = map->cols;
    plot.values.assign(map->values.begin(), map->values.end());
    plot.square = true;
    double high = 0;
    for (const double value : plot.values) {
      if (std::isfinite(value)) high = std::max(high, value);
    }
    plot.high = map->unit_scale ? 1 : high > 0 ? high : 0.1;
    if (high == 0) plot.title += " (all 0)";
    if (map->tokens.size() <= kMostNames) plot.x_names = map->tokens;
    plots.emplace_back(std::move(plot));
  }
  return plots;
}

std::vector<Plot> HistogramPlots(const RunSet& set, const std::string& name) {
  LinePlot plot;
  plot.title = LabelOf(name, "");
  plot.y_label = "share";
  for (const ReportRun& run : set.runs) {
    const Histogram* histogram = Find(run, &RunResults::histograms, name);
    if (histogram == nullptr) continue;
    double total = 0;
    for (const double count : histogram->counts) total += count;
    Curve curve;
    curve.color = run.color;
    curve.label = run.label;
    for (size_t i = 0; i < histogram->counts.size(); ++i) {
      curve.x.push_back((histogram->edges[i] + histogram->edges[i + 1]) / 2);
      curve.y.push_back(total > 0 ? histogram->counts[i] / total : kNan);
    }
    plot.curves.push_back(std::move(curve));
  }
  if (plot.curves.empty()) return {};
  return {plot};
}

}  // namespace attnlab
