// From a problem to the macros that its kernels are compiled with, and their launch.
#pragma once

#include <array>
#include <string>

#include "kernels/attention.h"
#include "kernels/cuda/compiler.h"
#include "kernels/cuda/runtime.h"

namespace attnlab::cuda {

// An instance of `file` for the variant, element type and mask of `problem` (device/rows.cuh).
Instance InstanceFor(const Problem& problem, const char* file, int arch);

// Whether values of weight 0 are left out (ATTNLAB_SKIP).
bool Skips(const Problem& problem);

struct Launch {
  std::array<unsigned, 3> grid;
  unsigned threads;
  int shared_bytes = 0;
  // The kernel before it in the stream may still run; it waits for that one by itself. From sm_90
  // on.
  bool starts_early = false;
};

// Runs `name` of `instance` on `problem`'s device and stream with `params` as its one argument.
// Returns what went wrong.
std::string Run(const Problem& problem, const Instance& instance, const char* name,
                const Launch& launch, const void* params);
// Sets `bytes` bytes of device memory to 0, on the stream before what follows.
std::string Zero(const Problem& problem, void* to, int64_t bytes);

}  // namespace attnlab::cuda
