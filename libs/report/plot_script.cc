// Plots as gnuplot commands.
#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "libs/report/plot.h"
#include "libs/report/text.h"

namespace attnlab {
namespace {

constexpr size_t kMostKeys = 6;
constexpr int64_t kMostNumbers = 100;  // cells of a heat map that are written out

// White to dark blue: light where there is little ink in the paper's maps.
constexpr char kPalette[] =
    "set palette defined (0 '#ffffff', 0.15 '#dbe9f6', 0.4 '#8dbfe0', 0.7 '#2f7ebc', 1 "
    "'#08306b')\n";

std::string Quote(const std::string& text) {
  return absl::StrCat("'", absl::StrReplaceAll(CleanText(text), {{"'", "''"}, {"`", "´"}}), "'");
}

std::string Value(double value) {
  return std::isfinite(value) ? absl::StrFormat("%.9g", value) : "NaN";
}

std::string Block(const std::string& name, const std::vector<std::vector<double>>& columns) {
  std::string block = absl::StrCat("$", name, " << END\n");
  for (size_t i = 0; i < columns[0].size(); ++i) {
    for (const std::vector<double>& column : columns)
      absl::StrAppend(&block, Value(column[i]), " ");
    block += "\n";
  }
  return block + "END\n";
}

// Title and key stand above the plot, on the left.
std::string Head(size_t index, int width, int height, const std::string& title,
                 const std::string& x_label, const std::string& y_label) {
  return absl::StrCat(
      "reset\nset terminal svg size ", width, ",", height,
      " fixed font 'Helvetica,12' noenhanced background '#ffffff' standalone\nset output '", index,
      ".svg'\nset border 3 lc rgb '#8a939c'\n",
      "set tics nomirror out scale 0.4 textcolor rgb '#333333'\n", "set label 1 ", Quote(title),
      " at graph 0, screen ", Value(1 - 13.0 / height),
      " left font ',13' textcolor rgb '#1a1f24'\nset xlabel ", Quote(x_label),
      " textcolor rgb '#333333' offset 0,0.3\nset ylabel ", Quote(y_label),
      " textcolor rgb '#333333' offset 0.8,0\n");
}

// The key above a plot in as many rows as its labels need, and the margin that leaves room for it.
std::string Key(const std::vector<std::string>& labels, int width, int height) {
  const auto top = [&](size_t rows) {
    return absl::StrCat("set tmargin at screen ",
                        Value(1 - (28.0 + 16.0 * static_cast<double>(rows)) / height), "\n");
  };
  if (labels.empty() || labels.size() > kMostKeys) return "unset key\n" + top(0);
  size_t longest = 0;
  for (const std::string& label : labels) longest = std::max(longest, label.size());
  const size_t columns = std::max<size_t>(1, (width - 40) / (46 + 7 * longest));
  return absl::StrCat("set key at graph 0, screen ", Value(1 - 23.0 / height),
                      " left top horizontal Left reverse samplen 1 width -0.5 font ',11' maxcols ",
                      columns, " textcolor rgb '#333333'\n",
                      top((labels.size() + columns - 1) / columns));
}

// A round step that gives at most about seven tics up to `last`.
double RoundStep(double last) {
  double step = std::pow(10, std::floor(std::log10(std::max(last, 1e-300))) - 1);
  for (;; step *= 10) {
    for (const double factor : {1, 2, 5}) {
      if (last <= 6.5 * step * factor) return step * factor;
    }
  }
}

std::string KeyTitle(const std::string& label) {
  return label.empty() ? " notitle" : absl::StrCat(" title ", Quote(label));
}

struct ScriptWriter {
  size_t index;

  std::string operator()(const LinePlot& plot) const {
    std::string script =
        Head(index, plot.width, plot.height, plot.title, plot.x_label, plot.y_label);
    script += "set grid ytics lc rgb '#e6e9ec' lw 0.8\n";
    std::vector<std::string> labels;
    double last = 0;
    for (const Curve& curve : plot.curves) {
      if (!curve.label.empty()) labels.push_back(curve.label);
      for (const double x : curve.x) last = std::max(last, x);
    }
    for (const Level& level : plot.levels) labels.push_back(level.label);
    script += Key(labels, plot.width, plot.height);
    absl::StrAppend(&script, "set lmargin at screen ", Value(58.0 / plot.width),
                    "\nset rmargin at screen ", Value(1 - 20.0 / plot.width), "\n");
    if (last > 0)
      absl::StrAppend(&script, "set xtics ",
                      Value(plot.whole_x ? std::max(1.0, RoundStep(last)) : RoundStep(last)), "\n");
    if (last >= 20000) script += "set format x '%.0s%c'\n";  // 20k
    if (const double height = Height(plot); height > 0 && !plot.log_y)
      absl::StrAppend(&script, "set ytics ", Value(RoundStep(height)), "\n");
    if (plot.log_y) script += "set logscale y\nset format y '%.2g'\n";
    if (plot.y_low < plot.y_high)
      absl::StrAppend(&script, "set yrange [", Value(plot.y_low), ":", Value(plot.y_high), "]\n");
    std::vector<std::string> parts;
    for (size_t i = 0; i < plot.curves.size(); ++i) {
      const Curve& curve = plot.curves[i];
      const std::string name = absl::StrCat("p", index, "c", i);
      const std::string tone = absl::StrReplaceAll(curve.color, {{"#", "#b0"}});
      if (!curve.low.empty()) {
        script += Block(name, {curve.x, curve.y, curve.low, curve.high});
        parts.push_back(absl::StrCat("$", name, " using 1:3:4 with filledcurves lc rgb '#d0",
                                     curve.color.substr(1), "' notitle"));
      } else {
        script += Block(name, {curve.x, curve.y});
      }
      parts.push_back(absl::StrCat("$", name, " using 1:2 with ",
                                   curve.points ? "linespoints pt 7 ps 0.45" : "lines", " lw ",
                                   curve.faint ? "0.8" : "1.8", " lc rgb '",
                                   curve.faint ? tone : curve.color, "'", KeyTitle(curve.label)));
    }
    for (const Level& level : plot.levels)
      parts.push_back(absl::StrCat(Value(level.value), " with lines dt 2 lw 1.2 lc rgb '#444444'",
                                   KeyTitle(level.label)));
    return absl::StrCat(script, "plot ", absl::StrJoin(parts, ", \\\n  "), "\nunset output\n");
  }

  std::string operator()(const HeatMap& plot) const {
    const bool numbers = !plot.square && plot.rows * plot.cols <= kMostNumbers;
    // Cells with a number in them are larger.
    const auto side = [](int64_t cells, int64_t cell, int64_t least, int64_t most) {
      return static_cast<int>(std::clamp<int64_t>(78 + cells * cell, least, most));
    };
    const int width =
        plot.square ? 264 : side(plot.cols, numbers ? 46 : 14, 190, 560) + (numbers ? 0 : 46);
    const int height = plot.square ? 252 : side(plot.rows, numbers ? 34 : 11, 150, 480);
    std::string script = Head(index, width, height, plot.title, plot.x_label, plot.y_label);
    const std::string name = absl::StrCat("p", index);
    absl::StrAppend(&script, "unset key\n", kPalette, "set cbrange [", Value(plot.low), ":",
                    Value(plot.high), "]\nset border 15 lc rgb '#c8ced4'\nset tics scale 0\n",
                    "set tmargin at screen ", Value(1 - 27.0 / height), "\nset lmargin at screen ",
                    Value((plot.square ? 58.0 : 48.0) / width), "\nset rmargin at screen ",
                    Value(1 - (numbers ? 10.0 : 56.0) / width), "\nset bmargin at screen ",
                    Value(47.0 / height), "\nset xrange [-0.5:", Value(plot.cols - 0.5),
                    "]\nset yrange [", Value(plot.rows - 0.5), ":-0.5]\nset ytics ",
                    Cells(plot.rows), "\nset xtics ", Cells(plot.cols), "\n", Tics(plot));
    absl::StrAppend(&script, numbers ? "unset colorbox\n"
                                     : absl::StrCat("set colorbox user size ", Value(10.0 / width),
                                                    ",0.5 origin ", Value(1 - 48.0 / width),
                                                    ",0.25\nset cbtics scale 0.3 font ',10' ",
                                                    Value(RoundStep(plot.high - plot.low)), "\n"));
    absl::StrAppend(&script, "$", name, " << END\n");
    for (int64_t row = 0; row < plot.rows; ++row) {
      for (int64_t col = 0; col < plot.cols; ++col)
        absl::StrAppend(&script, Value(plot.values[row * plot.cols + col]), " ");
      script += "\n";
    }
    script += "END\n";
    if (numbers) script += Numbers(plot, name);
    absl::StrAppend(&script, "plot $", name, " matrix with image", numbers ? " pixels" : "");
    if (numbers)
      absl::StrAppend(&script, ", $", name,
                      "n using 1:2:3:4 with labels font ',11' textcolor rgb variable");
    return script + "\nunset output\n";
  }

  std::string operator()(const BoxPlot& plot) const {
    std::string script =
        Head(index, plot.width, plot.height, plot.title, plot.x_label, plot.y_label);
    script += "set grid ytics lc rgb '#e6e9ec' lw 0.8\nset style fill solid 0.35 border\n";
    std::vector<std::string> labels;
    for (const BoxGroup& group : plot.groups) labels.push_back(group.label);
    script += Key(labels, plot.width, plot.height) + ValueAxis(plot);
    std::vector<std::string> tics, parts;
    for (size_t i = 0; i < plot.places.size(); ++i)
      tics.push_back(absl::StrCat("'", plot.places[i], "' ", i));
    const double step = 0.8 / static_cast<double>(plot.groups.size());
    absl::StrAppend(&script, "set xtics (", absl::StrJoin(tics, ", "),
                    ")\nset xrange [-0.6:", Value(static_cast<double>(plot.places.size()) - 0.4),
                    "]\nset boxwidth ", Value(0.8 * step), "\n");
    for (size_t g = 0; g < plot.groups.size(); ++g) {
      const BoxGroup& group = plot.groups[g];
      std::vector<double> x;
      for (size_t i = 0; i < group.min.size(); ++i)
        x.push_back(static_cast<double>(i) - 0.4 + step * (static_cast<double>(g) + 0.5));
      const std::string name = absl::StrCat("p", index, "g", g);
      script += Block(name, {x, group.q1, group.min, group.max, group.q3, group.median});
      parts.push_back(absl::StrCat("$", name, " using 1:2:3:4:5 with candlesticks lw 1.1 lc rgb '",
                                   group.color, "'", KeyTitle(group.label), " whiskerbars 0.5"));
      parts.push_back(absl::StrCat("$", name,
                                   " using 1:6:6:6:6 with candlesticks lw 1.6 lc rgb '#1a1f24' "
                                   "notitle"));
    }
    return absl::StrCat(script, "plot ", absl::StrJoin(parts, ", \\\n  "), "\nunset output\n");
  }

 private:
  // From the lowest to the highest value that the plot shows.
  static double Height(const LinePlot& plot) {
    if (plot.y_low < plot.y_high) return plot.y_high - plot.y_low;
    double low = HUGE_VAL, high = -HUGE_VAL;
    const auto add = [&](double value) {
      if (!std::isfinite(value)) return;
      low = std::min(low, value);
      high = std::max(high, value);
    };
    for (const Curve& curve : plot.curves) {
      for (const std::vector<double>* values : {&curve.y, &curve.low, &curve.high}) {
        for (const double value : *values) add(value);
      }
    }
    for (const Level& level : plot.levels) add(level.value);
    return high - low;
  }

  static std::string Cells(int64_t count) {
    return Value(std::max(1.0, RoundStep(static_cast<double>(count))));
  }

  // Values that reach far beyond the boxes: an axis that is linear near 0 and logarithmic outside.
  static std::string ValueAxis(const BoxPlot& plot) {
    double largest = 0;
    for (const BoxGroup& group : plot.groups) {
      for (size_t i = 0; i < group.min.size(); ++i) {
        const double reach = std::fmax(-group.min[i], group.max[i]);
        if (std::isfinite(reach)) largest = std::max(largest, reach);
      }
    }
    if (largest < 20) return "";
    std::vector<std::string> tics = {"0"};
    for (double tic = 1; tic < 10 * largest; tic *= 10) {
      tics.push_back(Value(tic));
      tics.push_back(Value(-tic));
    }
    return absl::StrCat("set nonlinear y via asinh(y) inverse sinh(y)\nset yrange [",
                        Value(-1.6 * largest), ":", Value(1.6 * largest), "]\nset ytics (",
                        absl::StrJoin(tics, ", "), ")\n");
  }

  static std::string Tics(const HeatMap& plot) {
    if (plot.x_names.empty()) return "";
    std::vector<std::string> tics;
    for (size_t i = 0; i < plot.x_names.size(); ++i)
      tics.push_back(absl::StrCat(Quote(plot.x_names[i]), " ", i));
    return absl::StrCat("set xtics (", absl::StrJoin(tics, ", "),
                        ") rotate by 90 right font ',9'\n");
  }

  // At most five characters, so that it fits its cell.
  static std::string Percent(double value) {
    if (value > 0 && value < 0.001) return "<0.1%";
    if (std::abs(value) < 0.001) return "0%";
    return value < 0.0995 ? absl::StrFormat("%.2g%%", 100 * value)
                          : absl::StrFormat("%.0f%%", 100 * value);
  }

  // The values as labels, white on dark cells.
  static std::string Numbers(const HeatMap& plot, const std::string& name) {
    std::string block = absl::StrCat("$", name, "n << END\n");
    for (int64_t i = 0; i < plot.rows * plot.cols; ++i) {
      const double value = plot.values[i];
      const bool dark = value > plot.low + 0.55 * (plot.high - plot.low);
      const std::string text = std::isnan(value)         ? "-"
                               : plot.percent            ? Percent(value)
                               : std::abs(value) < 0.005 ? "0"
                                                         : absl::StrFormat("%.2f", value);
      absl::StrAppend(&block, i % plot.cols, " ", i / plot.cols, " ", text, " ",
                      dark ? 0xffffff : 0x1a1f24, "\n");
    }
    return block + "END\n";
  }
};

}  // namespace

std::string PlotScript(const Plot& plot, size_t index) {
  return std::visit(ScriptWriter{index}, plot);
}

}  // namespace attnlab
