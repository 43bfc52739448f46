#include "kernels/cuda/attention.h"

#include "kernels/cuda/hopper.h"

namespace attnlab::cuda {

std::string KernelName(const Problem& problem, std::string& error) {
  const DeviceInfo* device = UseDevice(problem.device, error);
  if (device == nullptr) return "";
  return HopperTakes(problem, *device) ? "hopper" : "oracle";
}

std::string Forward(const ForwardArgs& args) {
  std::string error;
  const DeviceInfo* device = UseDevice(args.device, error);
  if (device == nullptr) return error;
  if (HopperTakes(args, *device)) return HopperForward(args, *device);
  return "no kernel";
}

std::string Backward(const BackwardArgs& args) {
  std::string error;
  const DeviceInfo* device = UseDevice(args.device, error);
  if (device == nullptr) return error;
  if (HopperTakes(args, *device)) return HopperBackward(args, *device);
  return "no kernel";
}

std::string Decode(const ForwardArgs& args) { return cuda::Forward(args); }
int64_t WorkspaceBytes(const ForwardArgs& args) { return 0; }
int64_t WorkspaceBytes(const BackwardArgs& args) { return HopperWorkspace(args); }

}  // namespace attnlab::cuda
