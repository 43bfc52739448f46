// The sm_90a kernels: which problems they take, and their launches.
#pragma once

#include <string>
#include <vector>

#include "kernels/attention.h"
#include "kernels/cuda/compiler.h"
#include "kernels/cuda/runtime.h"

namespace attnlab::cuda {

// What tiled kernels take (tiled.h), of head dim 64 or 128.
bool HopperTakes(const Problem& problem, int arch);

// The kernels that a problem needs.
std::vector<Instance> HopperForwardInstances(const Problem& problem, int arch);
std::vector<Instance> HopperBackwardInstances(const Problem& problem, int arch);

std::string HopperForward(const ForwardArgs& args, const DeviceInfo& device);
std::string HopperBackward(const BackwardArgs& args, const DeviceInfo& device);
// Bytes.
int64_t HopperWorkspace(const ForwardArgs& args, const DeviceInfo& device);
int64_t HopperWorkspace(const BackwardArgs& args, const DeviceInfo& device);

}  // namespace attnlab::cuda
