// Arguments of the sm_90a kernels, filled by kernels/cuda/hopper.cc. Whoever includes this has
// defined TensorMap, 128 bytes.
#pragma once

#include "kernels/attention.h"

namespace attnlab::hopper {

struct ForwardParams {
  TensorMap q, k, v;
  ForwardArgs args;
  int query_tiles;  // a head
  int work;         // query tiles of all heads
  int section;      // heads whose keys and values fit into the L2 cache together
};

}  // namespace attnlab::hopper
