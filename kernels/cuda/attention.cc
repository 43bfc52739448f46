#include "kernels/cuda/attention.h"

#include <algorithm>

#include "kernels/cuda/decode.h"
#include "kernels/cuda/hopper.h"

namespace attnlab::cuda {

Plan PlanFor(const Problem& problem, int arch) {
  if (HopperTakes(problem, arch)) {
    Plan plan = {"hopper", {}};
    for (const HopperKernel kernel : {HopperKernel::kForward, HopperKernel::kStatistics,
                                      HopperKernel::kKeys, HopperKernel::kQueries}) {
      plan.instances.push_back(HopperInstance(problem, kernel));
    }
    return plan;
  }
  return {"none", {}};
}

const char* KernelName(const Problem& problem) {
  std::string error;
  const DeviceInfo* device = UseDevice(problem.device, error);
  return device == nullptr ? "none" : PlanFor(problem, device->arch).name;
}

Plan DecodePlan(const Problem& problem, int arch) {
  if (DecodeTakes(problem, arch)) return {"decode", {DecodeInstance(problem, arch)}};
  return PlanFor(problem, arch);
}

std::string Forward(const ForwardArgs& args) {
  if (args.cache.key_lengths != nullptr || args.cache.block_table != nullptr) {
    return "cache: key lengths and pages are for decode, which does not take this problem";
  }
  std::string error;
  const DeviceInfo* device = UseDevice(args.device, error);
  if (device == nullptr) return error;
  if (HopperTakes(args, device->arch)) return HopperForward(args, *device);
  return "no kernel";
}

std::string Backward(const BackwardArgs& args) {
  std::string error;
  const DeviceInfo* device = UseDevice(args.device, error);
  if (device == nullptr) return error;
  if (HopperTakes(args, device->arch)) return HopperBackward(args, *device);
  return "no kernel";
}

std::string Decode(const ForwardArgs& args) {
  std::string error;
  const DeviceInfo* device = UseDevice(args.device, error);
  if (device == nullptr) return error;
  return DecodeTakes(args, device->arch) ? RunDecode(args, *device) : cuda::Forward(args);
}

int64_t WorkspaceBytes(const ForwardArgs& args) {
  std::string error;
  const DeviceInfo* device = UseDevice(args.device, error);
  if (device == nullptr) return 0;
  const int64_t decode = DecodeTakes(args, device->arch) ? DecodeWorkspace(args, *device) : 0;
  return std::max(decode, HopperWorkspace(args));
}

int64_t WorkspaceBytes(const BackwardArgs& args) { return HopperWorkspace(args); }

}  // namespace attnlab::cuda
