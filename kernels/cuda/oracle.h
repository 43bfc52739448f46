// The kernels that take every problem: their launches.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/attention.h"
#include "kernels/cuda/compiler.h"
#include "kernels/cuda/runtime.h"

namespace attnlab::cuda {

// Head dim and value dim of 256 at most, fewer than 2^30 queries and keys.
bool OracleTakes(const Problem& problem, int arch);

Instance OracleInstance(const Problem& problem, int arch);

std::string OracleForward(const ForwardArgs& args, const DeviceInfo& device);
std::string OracleBackward(const BackwardArgs& args, const DeviceInfo& device);
int64_t OracleWorkspace(const BackwardArgs& args, const DeviceInfo& device);  // bytes

}  // namespace attnlab::cuda
