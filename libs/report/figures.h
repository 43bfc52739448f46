// The figures of a report, as plots. A figure without plots means that no run has what it shows.
#pragma once

#include <string>
#include <vector>

#include "libs/report/document.h"
#include "libs/report/run_set.h"

namespace attnlab {

// Names that occur in any run, in order.
std::vector<std::string> SeriesNames(const RunSet& set);
std::vector<std::string> HeadMetricNames(const RunSet& set);
std::vector<std::string> LayerProfileNames(const RunSet& set);
std::vector<std::string> MapNames(const RunSet& set);
std::vector<std::string> BoxNames(const RunSet& set);
std::vector<std::string> HistogramNames(const RunSet& set);

// One heat map [layers, heads] a run, all on one scale.
Figure HeadFigure(const RunSet& set, const std::string& name);

// One line a run over the layers.
std::vector<Plot> LayerPlots(const RunSet& set, const std::string& name);

// Minimum, quartiles and maximum by layer, the runs side by side.
Figure BoxFigure(const RunSet& set, const std::string& name);

// The map of this name of the first run of each group.
std::vector<Plot> MapPlots(const RunSet& set, const std::string& name);

std::vector<Plot> HistogramPlots(const RunSet& set, const std::string& name);

}  // namespace attnlab
