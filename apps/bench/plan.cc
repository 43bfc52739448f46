#include "apps/bench/plan.h"

#if defined(ATTNLAB_CUDA)
#include <chrono>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "apps/jobs.h"
#include "kernels/cuda/attention.h"
#include "kernels/cuda/compiler.h"
#include "kernels/cuda/runtime.h"
#include "libs/core/log.h"
#include "libs/core/status.h"
#endif

namespace attnlab {

#if defined(ATTNLAB_CUDA)

namespace {

cuda::Plan PlanOf(BenchKind kind, const Problem& problem, int arch) {
  return kind == BenchKind::kDecode ? cuda::DecodePlan(problem, arch)
                                    : cuda::PlanFor(problem, arch);
}

// "hopper_forward.cuh VARIANT=Softmax MASK=1 ..."
std::string Describe(const cuda::Instance& instance) {
  std::string text = instance.file;
  for (const auto& [name, value] : instance.macros) {
    if (absl::EndsWith(name, "HEADER")) continue;
    absl::StrAppend(&text, " ", name.substr(name.find('_') + 1), "=", value);
  }
  return text;
}

absl::Status Compile(const cuda::Instance& instance, size_t index, size_t count) {
  const auto start = std::chrono::steady_clock::now();
  std::string error;
  if (cuda::MachineCode(instance, error).empty()) return absl::InternalError(error);
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  LogInfo(absl::StrFormat("%d of %d, %.1f s: %s", index + 1, count, elapsed.count(),
                          Describe(instance)));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<int> ArchOf(int ordinal) {
  std::string error;
  const cuda::DeviceInfo* device = cuda::UseDevice(ordinal, error);
  if (device == nullptr) return absl::InvalidArgumentError(error);
  return device->arch;
}

KernelNames KernelsOf(BenchKind kind, const Problem& problem, int arch) {
  const cuda::Plan plan = PlanOf(kind, problem, arch);
  return {plan.name, plan.backward};
}

absl::Status CompileKernels(BenchKind kind, const std::vector<Problem>& problems, int arch,
                            int64_t jobs) {
  std::vector<cuda::Instance> instances;
  std::set<std::string> known;
  for (const Problem& problem : problems) {
    for (const cuda::Instance& instance : PlanOf(kind, problem, arch).instances) {
      if (known.insert(Describe(instance)).second) instances.push_back(instance);
    }
  }
  LogInfo(absl::StrCat(instances.size(), " kernels for sm_", arch, ", ", jobs, " at a time"));
  const auto compile = [&](size_t i) { return Compile(instances[i], i, instances.size()); };
  return RunJobs({instances.size(), jobs, compile, {}, [] { return false; }});
}

#else

namespace {
constexpr char kNoCuda[] = "this program was built without CUDA headers";
}  // namespace

absl::StatusOr<int> ArchOf(int) { return absl::FailedPreconditionError(kNoCuda); }
KernelNames KernelsOf(BenchKind, const Problem&, int) { return {"none", "none"}; }
absl::Status CompileKernels(BenchKind, const std::vector<Problem>&, int, int64_t) {
  return absl::FailedPreconditionError(kNoCuda);
}

#endif

}  // namespace attnlab
