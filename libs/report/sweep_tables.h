// What a sweep of compression methods says: for each score one table, a row a method with its
// settings, the variants side by side, and who is ahead.
#pragma once

#include <vector>

#include "libs/report/document.h"
#include "libs/report/run_set.h"

namespace attnlab {

// The first variant of a sweep is compared with each other one. Rows of the same seed and draw make
// a pair; a verdict names a variant only where all pairs agree: which is better, and which lost
// less against the model as it was trained. Scores that are means over documents have the standard
// error of their difference, and a verdict needs twice that; after them comes the mean over the
// tasks. Empty for runs without a sweep.
std::vector<Table> SweepTables(const RunSet& set);

}  // namespace attnlab
