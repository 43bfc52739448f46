// The CPU kernels beside LibTorch's flash attention for the CPU.
#pragma once

#include "absl/status/status.h"
#include "apps/bench/flags.h"

namespace attnlab {

// Checks each variant against float64, then times it. Standard output is a table for each shape:
// milliseconds, GFLOP/s, how many times as fast as the peer, and how many times as long as the same
// operations take in a large matrix product.
absl::Status RunCpuAttention(const BenchFlags& flags);

}  // namespace attnlab
