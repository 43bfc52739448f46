// What a bench of the attention kernels says: rates by variant and sequence length beside the
// peers.
#pragma once

#include <vector>

#include "libs/report/document.h"
#include "libs/report/run_set.h"

namespace attnlab {

// Of each run's table `attention` one table for each dtype, head dim, mask and pass, a row a
// variant and kernel (LibTorch's own last), a column a sequence length; of its table `decode` one
// for each dtype and shape. Captions name the device, its driver, its clocks and what it reaches
// otherwise. Empty for runs without a bench.
std::vector<Table> BenchTables(const RunSet& set);

}  // namespace attnlab
