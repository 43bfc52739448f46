#include "kernels/cuda/attention.h"

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

std::string Forward(const ForwardArgs& args) {
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

std::string Decode(const ForwardArgs& args) { return cuda::Forward(args); }
int64_t WorkspaceBytes(const ForwardArgs& args) { return HopperWorkspace(args); }
int64_t WorkspaceBytes(const BackwardArgs& args) { return HopperWorkspace(args); }

}  // namespace attnlab::cuda
