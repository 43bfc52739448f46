// Attention on a CUDA device: the launches of kernels/attention.h for a problem whose device is not
// the CPU. The choice among the kernels of kernels/cuda/device/ is made here:
//
//   hopper_*   sm_90a, 16-bit elements, head dim 64 or 128: wgmma and the bulk tensor engine
//   oracle     everything else: one warp a row, to be read rather than timed
#pragma once

#include <cstdint>
#include <string>

#include "kernels/attention.h"

namespace attnlab::cuda {

// Each returns what went wrong, empty if nothing.
std::string Forward(const ForwardArgs& args);
std::string Backward(const BackwardArgs& args);
std::string Decode(const ForwardArgs& args);

int64_t WorkspaceBytes(const ForwardArgs& args);
int64_t WorkspaceBytes(const BackwardArgs& args);

// The name of the kernel that Forward or Backward would run: "hopper", "oracle"; empty with the
// reason in `error` where there is none.
std::string KernelName(const Problem& problem, std::string& error);

}  // namespace attnlab::cuda
