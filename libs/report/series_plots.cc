#include "libs/report/series_plots.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/report/text.h"

namespace attnlab {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr int64_t kBins = 160;       // points of a smooth curve
constexpr int64_t kFaintBins = 600;  // points of the curve behind it

// The runs of `group` that have the series.
std::vector<const Series*> SeriesOf(const RunSet& set, const RunGroup& group,
                                    const std::string& name) {
  std::vector<const Series*> found;
  for (const size_t i : group.runs) {
    const auto& all = set.runs[i].results.series;
    const auto it = all.find(name);
    if (it != all.end() && !it->second.steps.empty()) found.push_back(&it->second);
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

}  // namespace attnlab
