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

std::string Head(size_t index, int width, int height, const std::string& title,
                 const std::string& x_label, const std::string& y_label) {
  return absl::StrCat(
      "reset\nset terminal svg size ", width, ",", height,
      " fixed font 'Helvetica,12' noenhanced background '#ffffff' standalone\nset output '", index,
      ".svg'\nset border 3 lc rgb '#8a939c'\nset tics nomirror out scale 0.4 textcolor rgb "
      "'#333333'\nset title ",
      Quote(title), " font ',13' textcolor rgb '#1a1f24'\nset xlabel ", Quote(x_label),
      " textcolor rgb '#333333' offset 0,0.3\nset ylabel ", Quote(y_label),
      " textcolor rgb '#333333' offset 0.8,0\n");
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
    size_t labels = plot.levels.size();
    for (const Curve& curve : plot.curves) labels += !curve.label.empty();
    script += labels > kMostKeys ? "unset key\n"
                                 : "set key top right Left reverse samplen 1.4 textcolor rgb "
                                   "'#333333' opaque fillcolor rgb '#ffffff'\n";
    if (plot.log_y) script += "set logscale y\nset format y '%.2g'\n";
    if (plot.whole_x) script += "set xtics 1\n";
    if (plot.whole_x && !plot.curves.empty() && plot.curves[0].x.size() > 16)
      script += "set xtics autofreq\n";
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
    const int64_t cell = plot.square ? 0 : 26;
    const int width =
        plot.square ? 300 : static_cast<int>(std::clamp<int64_t>(150 + plot.cols * 38, 230, 520));
    const int height =
        plot.square ? 280 : static_cast<int>(std::clamp<int64_t>(96 + plot.rows * cell, 150, 560));
    std::string script = Head(index, width, height, plot.title, plot.x_label, plot.y_label);
    absl::StrAppend(&script, "unset key\n", kPalette, "set cbrange [", Value(plot.low), ":",
                    Value(plot.high), "]\nset colorbox user size 0.03,0.6 origin 0.84,0.22\n",
                    "set rmargin at screen 0.8\nset lmargin at screen 0.17\n",
                    "set cbtics scale 0.3 font ',10'\nset xrange [-0.5:", Value(plot.cols - 0.5),
                    "]\nset yrange [", Value(plot.rows - 0.5), ":-0.5]\n");
    if (plot.percent) script += "set format cb '%.2g'\n";
    if (plot.square) {
      script += "set size ratio -1\nset border 15 lc rgb '#c8ced4'\n";
    } else {
      absl::StrAppend(&script, "set border 0\nset xtics ", Step(plot.cols), "\nset ytics ",
                      Step(plot.rows), "\n");
    }
    script += Tics(plot);
    const std::string name = absl::StrCat("p", index);
    absl::StrAppend(&script, "$", name, " << END\n");
    for (int64_t row = 0; row < plot.rows; ++row) {
      for (int64_t col = 0; col < plot.cols; ++col)
        absl::StrAppend(&script, Value(plot.values[row * plot.cols + col]), " ");
      script += "\n";
    }
    script += "END\n";
    const bool numbers = !plot.square && plot.rows * plot.cols <= kMostNumbers;
    if (numbers) script += Numbers(plot, name);
    absl::StrAppend(&script, "plot $", name, " matrix with image", plot.square ? "" : " pixels");
    if (numbers)
      absl::StrAppend(&script, ", $", name,
                      "n using 1:2:3:4 with labels font ',10' textcolor rgb variable");
    return script + "\nunset output\n";
  }

  std::string operator()(const BoxPlot& plot) const {
    std::string script =
        Head(index, plot.width, plot.height, plot.title, plot.x_label, plot.y_label);
    script += "set grid ytics lc rgb '#e6e9ec' lw 0.8\nset style fill solid 0.35 border\n";
    script += plot.groups.size() > kMostKeys ? "unset key\n"
                                             : "set key top left Left reverse samplen 1.2 "
                                               "horizontal textcolor rgb '#333333'\n";
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
  // At most about ten tics.
  static int64_t Step(int64_t count) { return std::max<int64_t>(1, (count + 9) / 10); }

  static std::string Tics(const HeatMap& plot) {
    if (plot.x_names.empty()) return "";
    std::vector<std::string> tics;
    for (size_t i = 0; i < plot.x_names.size(); ++i)
      tics.push_back(absl::StrCat(Quote(plot.x_names[i]), " ", i));
    return absl::StrCat("set xtics (", absl::StrJoin(tics, ", "),
                        ") rotate by 90 right font ',9'\n");
  }

  // The values as labels, white on dark cells.
  static std::string Numbers(const HeatMap& plot, const std::string& name) {
    std::string block = absl::StrCat("$", name, "n << END\n");
    for (int64_t i = 0; i < plot.rows * plot.cols; ++i) {
      const double value = plot.values[i];
      const bool dark = value > plot.low + 0.55 * (plot.high - plot.low);
      const std::string text = std::isnan(value)         ? "-"
                               : plot.percent            ? absl::StrFormat("%.3g%%", 100 * value)
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
