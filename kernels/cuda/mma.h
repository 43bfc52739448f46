// The kernels for sm_80 and later: which problems they take, and their launches.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/attention.h"
#include "kernels/cuda/compiler.h"
#include "kernels/cuda/runtime.h"

namespace attnlab::cuda {

enum class MmaKernel { kForward, kStatistics, kKeys, kQueries };

// What tiled kernels take (tiled.h), of head dim 64 or 128; forward also 256.
bool MmaTakesForward(const Problem& problem, int arch);
bool MmaTakesBackward(const Problem& problem, int arch);

Instance MmaInstance(const Problem& problem, MmaKernel kernel, int arch);

std::string MmaForward(const ForwardArgs& args, const DeviceInfo& device);
std::string MmaBackward(const BackwardArgs& args, const DeviceInfo& device);
int64_t MmaWorkspace(const BackwardArgs& args, const DeviceInfo& device);  // bytes

}  // namespace attnlab::cuda
