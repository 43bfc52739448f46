// Attention on a CUDA device: the launches of kernels/attention.h for a problem whose device is not
// the CPU. The choice among the kernels of kernels/cuda/device/ is made here, the first that takes
// the problem, or the one that Problem::kernel names:
//
//   decode   decode on sm_80 and later, 16-bit elements, head dim 64, 128 or 256
//   hopper   sm_90a, 16-bit elements, head dim 64 or 128: wgmma and the bulk tensor engine
//   mma      sm_80 and later, 16-bit elements, head dim 64 or 128, forward also 256: mma.sync
//   oracle   everything else up to a head dim of 256: one warp a row, to be read rather than timed
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

// 0 also where no kernel takes `args`; the launch says why.
int64_t WorkspaceBytes(const ForwardArgs& args);
int64_t WorkspaceBytes(const BackwardArgs& args);

// The name of the plan that the problem's device runs.
const char* KernelName(const Problem& problem);

// The kernels that the forward and the backward of `problem` use on a device of 10 times compute
// capability `arch`. Needs no device.
struct Plan {
  const char* name;      // of the forward: "hopper", "mma", "oracle", "none"
  const char* backward;  // likewise
  std::vector<Instance> instances;
};
Plan PlanFor(const Problem& problem, int arch);

// Likewise for a decode of `problem`: "decode", or what PlanFor says.
Plan DecodePlan(const Problem& problem, int arch);

}  // namespace attnlab::cuda
