// Attention on a CUDA device: the launches of kernels/attention.h for a problem whose device is not
// the CPU. The choice among the kernels of kernels/cuda/device/ is made here:
//
//   decode     decode on sm_80 and later, 16-bit elements, head dim 64, 128 or 256
//   hopper_*   sm_90a, 16-bit elements, head dim 64 or 128: wgmma and the bulk tensor engine
//   oracle     everything else: one warp a row, to be read rather than timed
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/attention.h"
#include "kernels/cuda/compiler.h"

namespace attnlab::cuda {

// Each returns what went wrong, empty if nothing.
std::string Forward(const ForwardArgs& args);
std::string Backward(const BackwardArgs& args);
std::string Decode(const ForwardArgs& args);

int64_t WorkspaceBytes(const ForwardArgs& args);
int64_t WorkspaceBytes(const BackwardArgs& args);

// The name of the plan that the problem's device runs.
const char* KernelName(const Problem& problem);

// The kernels that the forward and the backward of `problem` use on a device of 10 times compute
// capability `arch`, the best one that takes it. Needs no device.
struct Plan {
  const char* name;  // "hopper", "oracle"
  std::vector<Instance> instances;
};
Plan PlanFor(const Problem& problem, int arch);

// Likewise for a decode of `problem`: "decode", or what PlanFor says.
Plan DecodePlan(const Problem& problem, int arch);

}  // namespace attnlab::cuda
