// Arguments of the sm_90a kernels, filled by kernels/cuda/hopper.cc. Whoever includes this has
// defined TensorMap, 128 bytes.
#pragma once

#include "kernels/cuda/device/params.h"

namespace attnlab::hopper {

struct ForwardParams {
  TensorMap q, k, v;
  ForwardArgs args;
  Schedule schedule;
};

struct BackwardParams : attnlab::BackwardParams {
  TensorMap q, k, v, out_grad;
};

}  // namespace attnlab::hopper
