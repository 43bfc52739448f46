// The text of kernels/cuda/device, of the variants and of what they include, built into the program
// (kernels/cuda/embed.cmake writes it).
#pragma once

#include <span>

namespace attnlab::cuda {

struct DeviceSource {
  const char* name;  // as an #include names it
  const char* text;
};

std::span<const DeviceSource> DeviceSources();

// Changes when any text does.
const char* DeviceSourcesHash();

}  // namespace attnlab::cuda
