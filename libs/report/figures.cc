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
constexpr int64_t kBins = 160;       // points of a smooth curve
constexpr int64_t kFaintBins = 600;  // points of the curve behind it
constexpr size_t kMostBoxes = 14;    // layers of a box plot
constexpr size_t kMostNames = 16;    // tokens that are written along a map

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

// The runs of `group` that have the series.
std::vector<const Series*> SeriesOf(const RunSet& set, const RunGroup& group,
                                    const std::string& name) {
  std::vector<const Series*> found;
  for (const size_t i : group.runs) {
    const Series* series = Find(set.runs[i], &RunResults::series, name);
    if (series != nullptr && !series->steps.empty()) found.push_back(series);
  }
  return found;
}

struct Mean {
  double sum = 0;
  int64_t count = 0;
  void Add(double value) {
    sum += value;
    ++count;
  }
  double value() const { return count == 0 ? kNan : sum / static_cast<double>(count); }
};

// The mean of the runs at about `bins` places of the steps, with the range over the runs when there
// are several. Series with fewer rows keep their own steps.
Curve Average(const std::vector<const Series*>& runs, int64_t bins) {
  int64_t last = 0, rows = 0;
  for (const Series* series : runs) {
    last = std::max(last, series->steps.back());
    rows = std::max<int64_t>(rows, series->steps.size());
  }
  const int64_t width = rows <= bins ? 1 : std::max<int64_t>(1, last / bins);
  struct Bin {
    Mean step;
    std::vector<Mean> values;
  };
  std::map<int64_t, Bin> all;
  for (size_t r = 0; r < runs.size(); ++r) {
    for (size_t i = 0; i < runs[r]->steps.size(); ++i) {
      Bin& bin = all[runs[r]->steps[i] / width];
      bin.values.resize(runs.size());
      bin.step.Add(static_cast<double>(runs[r]->steps[i]));
      bin.values[r].Add(runs[r]->values[i]);
    }
  }
  Curve curve;
  for (const auto& [index, bin] : all) {
    Mean mean;
    double low = kNan, high = kNan;
    for (const Mean& value : bin.values) {
      if (value.count == 0) continue;
      mean.Add(value.value());
      low = std::fmin(low, value.value());
      high = std::fmax(high, value.value());
    }
    curve.x.push_back(bin.step.value());
    curve.y.push_back(mean.value());
    if (runs.size() < 2) continue;
    curve.low.push_back(low);
    curve.high.push_back(high);
  }
  return curve;
}

// Leaves the steep start of a loss and single spikes outside of the plot; a curve that is 0 all
// along lies on the axis.
void Focus(LinePlot& plot) {
  std::vector<double> values;
  for (const Curve& curve : plot.curves) {
    for (const double y : curve.y) {
      if (std::isfinite(y)) values.push_back(y);
    }
  }
  for (const Level& level : plot.levels) values.push_back(level.value);
  if (std::all_of(values.begin(), values.end(), [](double value) { return value == 0; }))
    plot.y_high = 1;
  if (values.size() < 20) return;
  std::sort(values.begin(), values.end());
  const double low = values.front(), most = values[values.size() * 96 / 100];
  if (values.back() - low < 1.8 * (most - low) || most <= low) return;
  plot.y_low = low - 0.06 * (most - low);
  plot.y_high = most + 0.35 * (most - low);
}

void Scale(double factor, Curve& curve) {
  for (std::vector<double>* values : {&curve.y, &curve.low, &curve.high}) {
    for (double& value : *values) value *= factor;
  }
}

void AddSeries(const RunSet& set, const std::string& name, bool faint, LinePlot& plot) {
  std::set<double> targets;
  for (const RunGroup& group : set.groups) {
    const std::vector<const Series*> runs = SeriesOf(set, group, name);
    if (runs.empty()) continue;
    if (!faint && runs.size() == 1 && runs[0]->steps.size() > kBins) {
      Curve raw = Average(runs, kFaintBins);
      if (runs[0]->info.unit == "fraction") Scale(100, raw);
      raw.color = group.color;
      raw.faint = true;
      plot.curves.push_back(std::move(raw));
    }
    Curve curve = Average(runs, faint ? kFaintBins : kBins);
    curve.color = group.color;
    curve.faint = faint;
    const SeriesInfo& info = runs[0]->info;
    const bool percent = info.unit == "fraction";
    if (percent) Scale(100, curve);
    if (plot.y_label.empty()) plot.y_label = percent ? "%" : info.unit;
    if (faint) {
      curve.low.clear();
      curve.high.clear();
    } else {
      curve.label = group.label;
      curve.points = curve.x.size() <= 40;
    }
    plot.curves.push_back(std::move(curve));
    if (info.target && targets.insert(*info.target).second)
      plot.levels.push_back({absl::StrCat(info.target_name.empty() ? "target" : info.target_name,
                                          " ", FormatNumber(*info.target)),
                             *info.target});
  }
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

std::vector<Plot> SeriesPlots(const RunSet& set, const std::string& name, const std::string& title,
                              const std::string& behind) {
  LinePlot plot;
  plot.title = title;
  plot.x_label = "step";
  if (!behind.empty()) AddSeries(set, behind, /*faint=*/true, plot);
  AddSeries(set, name, /*faint=*/false, plot);
  if (plot.curves.empty()) return {};
  Focus(plot);
  return {plot};
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
