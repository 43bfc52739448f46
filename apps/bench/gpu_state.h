// What a CUDA device says of itself while it computes: name, driver, clocks, through NVML, which is
// found when it is first asked. A machine without it gives empty names and clocks of NaN.
#pragma once

#include <string>

#include "apps/bench/measurement.h"

namespace attnlab {

struct Clocks {
  double sm = kNotMeasured;      // MHz
  double memory = kNotMeasured;  // MHz
};

class GpuState {
 public:
  // Of CUDA device `ordinal` of this process.
  explicit GpuState(int ordinal);

  std::string Name() const;
  std::string Driver() const;
  Clocks Now() const;
  Clocks Most() const;  // the clocks that the device may reach

 private:
  void* device_ = nullptr;  // nvmlDevice_t
};

}  // namespace attnlab
