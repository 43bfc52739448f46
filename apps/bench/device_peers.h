// LibTorch's own attention on the same tensors, softmax whatever the variant beside it: the
// operators themselves, without the choice among them.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "apps/bench/inputs.h"
#include "libs/attention/options.h"

namespace attnlab {

struct DevicePeer {
  std::string name;  // "flash", "cudnn", "efficient"
  std::function<void()> forward, backward;
};

// Those of the three that take the problem; why one does not is a line of the log. Of `options` the
// mask and the scale are used; none takes a window. Without `gradients` there is no backward.
std::vector<DevicePeer> MakeDevicePeers(const Inputs& inputs, const AttentionOptions& options,
                                        bool gradients);

}  // namespace attnlab
