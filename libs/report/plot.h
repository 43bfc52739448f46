// Plots as data, and their drawing by gnuplot.
//
// One gnuplot process draws all plots of a report, started without a shell on a script file in a
// temporary folder. Text goes into the script in single quotes, cleaned, numbers as numbers:
// nothing of a results file is ever a gnuplot command.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"

namespace attnlab {

struct Curve {
  std::string label;              // in the key; "" keeps it out
  std::string color;              // "#rrggbb"
  std::vector<double> x, y;       // NaN breaks the line
  std::vector<double> low, high;  // a band around it, or empty
  bool faint = false;             // thin and light: the raw curve behind a smooth one
  bool points = false;            // a dot at every value
};

struct Level {
  std::string label;
  double value = 0;
};

struct LinePlot {
  std::string title, x_label, y_label;
  std::vector<Curve> curves;
  std::vector<Level> levels;            // dashed horizontal lines
  double y_low = 0, y_high = 0;         // equal: as the data want it
  bool log_y = false, whole_x = false;  // whole_x: tics at whole numbers (layers)
  int width = 352, height = 262;
};

// A matrix of colours; row 0 on top. NaN stays white.
struct HeatMap {
  std::string title, x_label, y_label;
  int64_t rows = 0, cols = 0;
  std::vector<double> values;        // [rows, cols]
  double low = 0, high = 1;          // of the colour scale
  bool percent = false;              // numbers in the cells in per cent
  bool square = false;               // cells are squares, no numbers (attention maps)
  std::vector<std::string> x_names;  // [cols] tics, or empty
};

struct BoxGroup {
  std::string label, color;
  std::vector<double> min, q1, median, q3, max;  // one a place
};

struct BoxPlot {
  std::string title, x_label, y_label;
  std::vector<int64_t> places;   // on the x axis
  std::vector<BoxGroup> groups;  // side by side
  int width = 940, height = 340;
};

using Plot = std::variant<LinePlot, HeatMap, BoxPlot>;

// One <svg> element a plot, for the inside of an HTML page: ids are unique over all of them.
// FailedPrecondition when there is no gnuplot, Internal when it fails.
absl::StatusOr<std::vector<std::string>> DrawPlots(const std::vector<Plot>& plots);

// The script that draws plot number `index` into INDEX.svg.
std::string PlotScript(const Plot& plot, size_t index);

}  // namespace attnlab
