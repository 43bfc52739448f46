#include "kernels/dispatch.h"

#include <atomic>
#include <string>
#include <utility>
#include <vector>

#include "kernels/weighting_info.h"

#if defined(ATTNLAB_CUDA)
#include "kernels/cuda/attention.h"
#endif

namespace attnlab {

// Each instruction set's entry points stand in a namespace of its name (kernels/cpu/variants.cc).
#define ATTNLAB_DECLARE_ISA(isa)              \
  namespace isa {                             \
  void RunForward(const ForwardArgs& args);   \
  void RunBackward(const BackwardArgs& args); \
  void RunDecode(const ForwardArgs& args);    \
  }
ATTNLAB_DECLARE_ISA(baseline)
#if defined(ATTNLAB_X86_ISAS)
ATTNLAB_DECLARE_ISA(avx2)
ATTNLAB_DECLARE_ISA(avx512)
#endif
#undef ATTNLAB_DECLARE_ISA

namespace {

struct EntryPoints {
  const char* name;
  void (*forward)(const ForwardArgs&);
  void (*backward)(const BackwardArgs&);
  void (*decode)(const ForwardArgs&);
};

std::vector<EntryPoints> FindEntryPoints() {
  std::vector<EntryPoints> found;
#if defined(ATTNLAB_X86_ISAS)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512cd")) {
    found.push_back({"avx512", avx512::RunForward, avx512::RunBackward, avx512::RunDecode});
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
      __builtin_cpu_supports("bmi2")) {
    found.push_back({"avx2", avx2::RunForward, avx2::RunBackward, avx2::RunDecode});
  }
#endif
  found.push_back({"baseline", baseline::RunForward, baseline::RunBackward, baseline::RunDecode});
  return found;
}

const std::vector<EntryPoints>& AllEntryPoints() {
  static const auto& found = *new std::vector<EntryPoints>(FindEntryPoints());
  return found;
}

std::atomic<int> chosen{0};

const EntryPoints& Chosen() { return AllEntryPoints()[chosen]; }

// The launches on a CUDA device, or what stands for them in a build without.
#if defined(ATTNLAB_CUDA)
namespace device = cuda;
#else
namespace device {
std::string Missing() {
  return "this build has no kernels for CUDA devices: cuda.h and nvrtc.h were not found";
}
std::string Forward(const ForwardArgs&) { return Missing(); }
std::string Backward(const BackwardArgs&) { return Missing(); }
std::string Decode(const ForwardArgs&) { return Missing(); }
int64_t WorkspaceBytes(const ForwardArgs&) { return 0; }
int64_t WorkspaceBytes(const BackwardArgs&) { return 0; }
const char* KernelName(const Problem&) { return "none"; }
}  // namespace device
#endif

// An error of a device as the launches return it: null for none; kept until the thread's next.
const char* Keep(std::string error) {
  static thread_local std::string kept;
  kept = std::move(error);
  return kept.empty() ? nullptr : kept.c_str();
}

const char* CheckDocuments(const Mask& mask) {
  return (mask.query_documents == nullptr) == (mask.key_documents == nullptr)
             ? nullptr
             : "mask: documents of queries and keys must be given together";
}

const char* CheckCache(const ForwardArgs& args) {
  const KeyCache& cache = args.cache;
  if (args.device == kCpu && (cache.key_lengths != nullptr || cache.block_table != nullptr)) {
    return "cache: key lengths and pages are for decode on a CUDA device";
  }
  if (cache.block_table == nullptr) return nullptr;
  if (cache.page_size <= 0 || cache.page_size % 16 != 0) {
    return "cache: the page size is not a multiple of 16";
  }
  return cache.blocks_per_sequence * cache.page_size >= args.shape.keys
             ? nullptr
             : "cache: the block table holds fewer keys than the shape says";
}

const char* CheckForward(const ForwardArgs& args) {
  if (const char* wrong = CheckProblem(args)) return wrong;
  if (args.out.data == nullptr) return "out is null";
  if ((args.shift == nullptr) != (args.denominator == nullptr)) {
    return "shift and denominator must be given together";
  }
  return CheckCache(args);
}

}  // namespace

std::span<const char* const> InstructionSets() {
  static const auto& names = *[] {
    auto* names = new std::vector<const char*>;
    for (const EntryPoints& entry : AllEntryPoints()) names->push_back(entry.name);
    return names;
  }();
  return names;
}

bool UseInstructionSet(std::string_view name) {
  const auto names = InstructionSets();
  for (int i = 0; i < static_cast<int>(names.size()); ++i) {
    if (name != names[i]) continue;
    chosen = i;
    return true;
  }
  return false;
}

const char* KernelName(const Problem& problem) {
  return problem.device == kCpu ? "cpu" : device::KernelName(problem);
}

const char* CheckProblem(const Problem& problem) {
  const Shape& shape = problem.shape;
  if (problem.weighting < 0 || problem.weighting >= static_cast<int>(Weightings().size())) {
    return "no such weighting";
  }
  if (shape.batch < 0 || shape.queries < 0 || shape.keys < 0 || shape.heads < 1 ||
      shape.kv_heads < 1 || shape.head_dim < 1 || shape.value_dim < 1) {
    return "shape: a size is negative, or there are no heads or dims";
  }
  if (shape.heads % shape.kv_heads != 0) return "shape: heads is not a multiple of kv_heads";
  if (problem.mask.window < 0 || problem.mask.first_kept < 0) return "mask: negative window";
  const bool any = shape.batch > 0 && shape.queries > 0;
  if (any && problem.q.data == nullptr) return "q is null";
  if (any && shape.keys > 0 && (problem.k.data == nullptr || problem.v.data == nullptr)) {
    return "k or v is null";
  }
  if (problem.device == kCpu && problem.dtype == DType::kFloat16) {
    return "float16 is for CUDA devices; on a CPU give float32 or bfloat16";
  }
  const auto& learned = Weightings()[problem.weighting].learned;
  for (size_t i = 0; i < learned.size(); ++i) {
    if (problem.learned[i] == nullptr) return "a learned number of the weighting is null";
  }
  return CheckDocuments(problem.mask);
}

void SetDefaultConstants(Problem& problem) {
  int i = 0;
  for (const ConstantInfo& constant : Weightings()[problem.weighting].constants) {
    problem.constants[i++] = constant.value;
  }
}

int64_t WorkspaceBytes(const ForwardArgs& args) {
  return args.device == kCpu ? 0 : device::WorkspaceBytes(args);
}

int64_t WorkspaceBytes(const BackwardArgs& args) {
  return args.device == kCpu ? 0 : device::WorkspaceBytes(args);
}

const char* Forward(const ForwardArgs& args) {
  if (const char* wrong = CheckForward(args)) return wrong;
  if (args.device != kCpu) return Keep(device::Forward(args));
  Chosen().forward(args);
  return nullptr;
}

const char* Decode(const ForwardArgs& args) {
  if (const char* wrong = CheckForward(args)) return wrong;
  if (args.device != kCpu) return Keep(device::Decode(args));
  Chosen().decode(args);
  return nullptr;
}

const char* Backward(const BackwardArgs& args) {
  if (const char* wrong = CheckProblem(args)) return wrong;
  if (args.out.data == nullptr || args.out_grad.data == nullptr || args.shift == nullptr ||
      args.denominator == nullptr) {
    return "the backward needs out, its gradient, shift and denominator";
  }
  if (args.q_grad.data == nullptr ||
      (args.shape.keys > 0 && (args.k_grad.data == nullptr || args.v_grad.data == nullptr))) {
    return "a gradient is null";
  }
  for (size_t i = 0; i < Weightings()[args.weighting].learned.size(); ++i) {
    if (args.learned_grad[i] == nullptr) return "the gradient of a learned number is null";
  }
  if (args.device != kCpu) return Keep(device::Backward(args));
  Chosen().backward(args);
  return nullptr;
}

}  // namespace attnlab
