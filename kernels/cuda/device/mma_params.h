// Arguments of the forward of device/mma_forward.cuh, filled by kernels/cuda/mma.cc.
#pragma once

#include "kernels/cuda/device/params.h"

namespace attnlab::mma {

struct ForwardParams {
  ForwardArgs args;
  Schedule schedule;
};

}  // namespace attnlab::mma
