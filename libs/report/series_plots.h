// Series over the steps of training, as curves of groups of runs.
#pragma once

#include <string>
#include <vector>

#include "libs/report/plot.h"
#include "libs/report/run_set.h"

namespace attnlab {

// A series over the steps, one curve a group: the mean of its runs with their range as a band; of a
// single run the values behind their mean. Targets are dashed lines. `behind` is a second series
// drawn faintly (training loss behind held-out loss), "" for none.
// Empty when no run has the series.
std::vector<Plot> SeriesPlots(const RunSet& set, const std::string& name, const std::string& title,
                              const std::string& behind = "");

}  // namespace attnlab
