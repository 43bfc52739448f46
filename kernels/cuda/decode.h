// The decode kernels (device/decode.cuh): which problems they take, and their launches.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/attention.h"
#include "kernels/cuda/compiler.h"
#include "kernels/cuda/runtime.h"

namespace attnlab::cuda {

// sm_80 and later, 16-bit elements, head dim and value dim equal and 64, 128 or 256, rows of
// 16-byte multiples, at most 64 queries, sequences of less than 2^30 keys.
bool DecodeTakes(const Problem& problem, int arch);

// Both kernels of a decode of `problem`.
Instance DecodeInstance(const Problem& problem, int arch);

// As DecodeTakes says; args.workspace holds DecodeWorkspace(args, device) bytes.
std::string RunDecode(const ForwardArgs& args, const DeviceInfo& device);
int64_t DecodeWorkspace(const ForwardArgs& args, const DeviceInfo& device);

}  // namespace attnlab::cuda
