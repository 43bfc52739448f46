// Which CUDA kernels a problem needs, and their machine code ahead of a run.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "apps/bench/measurement.h"

namespace attnlab {

// 10 times the compute capability of CUDA device `ordinal`: 90.
absl::StatusOr<int> ArchOf(int ordinal);

// The kernels that run `problem` ("hopper"), "none" where none takes it; a decode has no backward.
struct KernelNames {
  std::string forward, backward;
};
KernelNames KernelsOf(BenchKind kind, const Problem& problem, int arch);

// Compiles what `problems` need and the cache of kernels lacks, `jobs` kernels at the same time, a
// line of the log each. Needs no device; call it before anything has started threads.
absl::Status CompileKernels(BenchKind kind, const std::vector<Problem>& problems, int arch,
                            int64_t jobs);

}  // namespace attnlab
