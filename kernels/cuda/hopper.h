// The sm_90a kernels: which problems they take, and their launches.
#pragma once

#include <string>

#include "kernels/attention.h"
#include "kernels/cuda/compiler.h"
#include "kernels/cuda/runtime.h"

namespace attnlab::cuda {

// 16-bit elements, head dim and value dim equal and 64 or 128, rows of 16-byte multiples, a positive
// scale, sequences of less than 2^31 tokens.
bool HopperTakes(const Problem& problem, int arch);

enum class HopperKernel { kForward, kStatistics, kKeys, kQueries };
Instance HopperInstance(const Problem& problem, HopperKernel kernel);


std::string HopperForward(const ForwardArgs& args, const DeviceInfo& device);
std::string HopperBackward(const BackwardArgs& args, const DeviceInfo& device);
// Bytes.
int64_t HopperWorkspace(const ForwardArgs& args);
int64_t HopperWorkspace(const BackwardArgs& args);

}  // namespace attnlab::cuda
