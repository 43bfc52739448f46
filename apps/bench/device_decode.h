// Decode on a CUDA device: one query a sequence on a cache of keys and values, which is a matter of
// memory bandwidth.
#pragma once

#include "absl/status/status.h"
#include "apps/bench/flags.h"

namespace attnlab {

// The shapes that `flags` ask for, one query each; without any flag of a shape batch 1 with 16
// heads of 64 and 32768 keys, batch 32 with 16 heads of 64 and 4096 keys, and batch 16 with 32
// query heads on 8 key heads of 128 and 8192 keys.
absl::StatusOr<std::vector<Shape>> DecodeShapes(const BenchFlags& flags, const BenchLists& lists);

absl::Status RunDeviceDecode(const BenchFlags& flags, at::Device device);

// Compiles what RunDeviceDecode needs; without a device.
absl::Status CompileDecode(const BenchFlags& flags);

}  // namespace attnlab
