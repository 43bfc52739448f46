// Attention of a CUDA device: every kernel is checked, then timed with LibTorch's in turns.
#pragma once

#include "absl/status/status.h"
#include "apps/bench/flags.h"

namespace attnlab {

absl::Status RunDeviceAttention(const BenchFlags& flags, at::Device device);

// Compiles what RunDeviceAttention needs; without a device.
absl::Status CompileAttention(const BenchFlags& flags);

}  // namespace attnlab
