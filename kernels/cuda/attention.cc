#include "kernels/cuda/attention.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "kernels/cuda/decode.h"
#include "kernels/cuda/hopper.h"
#include "kernels/cuda/mma.h"
#include "kernels/cuda/oracle.h"
#include "kernels/cuda/tiled.h"

namespace attnlab::cuda {
namespace {

template <MmaKernel... kKernels>
std::vector<Instance> MmaInstances(const Problem& problem, int arch) {
  return {MmaInstance(problem, kKernels, arch)...};
}
std::vector<Instance> OracleInstances(const Problem& problem, int arch) {
  return {OracleInstance(problem, arch)};
}

// A kernel for one direction, the best first. `aligned`: results, too, stand on boundaries of 16
// bytes.
template <class Args>
struct Rung {
  const char* name;
  bool aligned;
  bool (*takes)(const Problem&, int arch);
  std::string (*run)(const Args&, const DeviceInfo&);
  int64_t (*workspace)(const Args&, const DeviceInfo&);  // null: none
  std::vector<Instance> (*instances)(const Problem&, int arch);
};

constexpr Rung<ForwardArgs> kForward[] = {
    {"hopper", true, HopperTakes, HopperForward, HopperWorkspace, HopperForwardInstances},
    {"mma", true, MmaTakesForward, MmaForward, nullptr, MmaInstances<MmaKernel::kForward>},
    {"oracle", false, OracleTakes, OracleForward, nullptr, OracleInstances},
};

constexpr Rung<BackwardArgs> kBackward[] = {
    {"hopper", true, HopperTakes, HopperBackward, HopperWorkspace, HopperBackwardInstances},
    {"mma", true, MmaTakesBackward, MmaBackward, MmaWorkspace,
     MmaInstances<MmaKernel::kStatistics, MmaKernel::kKeys, MmaKernel::kQueries>},
    {"oracle", false, OracleTakes, OracleBackward, OracleWorkspace, OracleInstances},
};

bool ResultsAligned(const Problem&) { return true; }
bool ResultsAligned(const ForwardArgs& args) { return Aligned(args.out); }
bool ResultsAligned(const BackwardArgs& args) {
  return Aligned(args.out) && Aligned(args.out_grad) && Aligned(args.q_grad) &&
         Aligned(args.k_grad) && Aligned(args.v_grad);
}

// The rung for `args`, a Problem or the arguments of a launch; null with the reason in `error`.
template <class Args, int kCount, class Some>
const Rung<Args>* Choose(const Rung<Args> (&rungs)[kCount], const Some& args, int arch,
                         std::string& error) {
  for (const Rung<Args>& rung : rungs) {
    if (args.kernel != nullptr && std::string_view(args.kernel) != rung.name) continue;
    if (rung.takes(args, arch) && (!rung.aligned || ResultsAligned(args))) return &rung;
    if (args.kernel == nullptr) continue;
    error = std::string("the kernels \"") + rung.name + "\" do not take this problem on sm_" +
            std::to_string(arch);
    return nullptr;
  }
  error = args.kernel != nullptr
              ? std::string("no kernels are named \"") + args.kernel + "\""
              : std::string("no kernel takes this problem: dims above 256, or too long");
  return nullptr;
}

template <class Args, int kCount>
std::string RunBest(const Rung<Args> (&rungs)[kCount], const Args& args) {
  std::string error;
  const DeviceInfo* device = UseDevice(args.device, error);
  if (device == nullptr) return error;
  const Rung<Args>* rung = Choose(rungs, args, device->arch, error);
  return rung != nullptr ? rung->run(args, *device) : error;
}

template <class Args, int kCount>
int64_t WorkspaceOf(const Rung<Args> (&rungs)[kCount], const Args& args) {
  std::string error;
  const DeviceInfo* device = UseDevice(args.device, error);
  if (device == nullptr) return 0;
  const Rung<Args>* rung = Choose(rungs, args, device->arch, error);
  return rung != nullptr && rung->workspace != nullptr ? rung->workspace(args, *device) : 0;
}

}  // namespace

Plan PlanFor(const Problem& problem, int arch) {
  std::string error;
  Plan plan = {"none", "none", {}};
  const auto add = [&](const auto* rung, const char*& name) {
    if (rung == nullptr) return;
    name = rung->name;
    for (Instance& instance : rung->instances(problem, arch)) {
      plan.instances.push_back(std::move(instance));
    }
  };
  add(Choose(kForward, problem, arch, error), plan.name);
  add(Choose(kBackward, problem, arch, error), plan.backward);
  return plan;
}

const char* KernelName(const Problem& problem) {
  std::string error;
  const DeviceInfo* device = UseDevice(problem.device, error);
  if (device == nullptr) return "none";
  const Plan plan = PlanFor(problem, device->arch);
  return std::string_view(plan.backward) == plan.name ? plan.name : "oracle";
}

Plan DecodePlan(const Problem& problem, int arch) {
  if (problem.kernel == nullptr && DecodeTakes(problem, arch)) {
    return {"decode", "none", {DecodeInstance(problem, arch)}};
  }
  return PlanFor(problem, arch);
}

std::string Forward(const ForwardArgs& args) {
  if (args.cache.key_lengths != nullptr || args.cache.block_table != nullptr) {
    return "cache: key lengths and pages are for decode, which does not take this problem";
  }
  return RunBest(kForward, args);
}

std::string Backward(const BackwardArgs& args) { return RunBest(kBackward, args); }

std::string Decode(const ForwardArgs& args) {
  std::string error;
  const DeviceInfo* device = UseDevice(args.device, error);
  if (device == nullptr) return error;
  const bool takes = args.kernel == nullptr && DecodeTakes(args, device->arch);
  return takes ? RunDecode(args, *device) : cuda::Forward(args);
}

int64_t WorkspaceBytes(const ForwardArgs& args) {
  std::string error;
  const DeviceInfo* device = UseDevice(args.device, error);
  if (device == nullptr) return 0;
  const int64_t decode = DecodeTakes(args, device->arch) ? DecodeWorkspace(args, *device) : 0;
  return std::max(decode, WorkspaceOf(kForward, args));
}

int64_t WorkspaceBytes(const BackwardArgs& args) { return WorkspaceOf(kBackward, args); }

}  // namespace attnlab::cuda
