#include "kernels/cuda/instances.h"

#include <cstdint>

#include "kernels/weighting_info.h"

namespace attnlab::cuda {
namespace {

// The places of the registry as text.
struct VariantText {
  const char* header;
  const char* type;
};
constexpr VariantText kVariants[] = {
#define ATTNLAB_WEIGHTING(file, Type) {"\"kernels/weightings/" #file ".h\"", #Type},
#include "kernels/weightings.def"
#undef ATTNLAB_WEIGHTING
};

const char* ElementName(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return "float";
    case DType::kBFloat16:
      return "BFloat16";
    case DType::kFloat16:
      return "Float16";
  }
  return "";
}

}  // namespace

Instance InstanceFor(const Problem& problem, const char* file, int arch) {
  const Mask& mask = problem.mask;
  const int bits =
      (mask.causal ? 1 : 0) + (mask.window > 0 ? 2 : 0) + (mask.query_documents != nullptr ? 4 : 0);
  return {file,
          {{"ATTNLAB_HEADER", kVariants[problem.weighting].header},
           {"ATTNLAB_VARIANT", kVariants[problem.weighting].type},
           {"ATTNLAB_ELEMENT", ElementName(problem.dtype)},
           {"ATTNLAB_MASK", std::to_string(bits)},
           {"ATTNLAB_SKIP", Skips(problem) ? "1" : "0"}},
          arch};
}

bool Skips(const Problem& problem) {
  return problem.skip_zero_tiles && Weightings()[problem.weighting].traits.exact_zeros;
}

std::string Run(const Problem& problem, const Instance& instance, const char* name,
                const Launch& launch, const void* params) {
  std::string error;
  const Driver* driver = GetDriver(error);
  if (driver == nullptr) return error;
  const CUfunction function = GetKernel(instance, name, problem.device, launch.shared_bytes, error);
  if (function == nullptr) return error;
  CUlaunchConfig config = {};
  config.gridDimX = launch.grid[0];
  config.gridDimY = launch.grid[1];
  config.gridDimZ = launch.grid[2];
  config.blockDimX = launch.threads;
  config.blockDimY = config.blockDimZ = 1;
  config.sharedMemBytes = launch.shared_bytes;
  config.hStream = static_cast<CUstream>(problem.stream);
  CUlaunchAttribute early = {};
  early.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
  early.value.programmaticStreamSerializationAllowed = 1;
  config.attrs = &early;
  config.numAttrs = launch.starts_early ? 1 : 0;
  void* arguments[] = {const_cast<void*>(params)};
  return Describe(name, driver->cuLaunchKernelEx(&config, function, arguments, nullptr));
}

std::string Zero(const Problem& problem, void* to, int64_t bytes) {
  std::string error;
  const Driver* driver = GetDriver(error);
  if (driver == nullptr) return error;
  return Describe(
      "cuMemsetD8Async",
      driver->cuMemsetD8Async(reinterpret_cast<CUdeviceptr>(to), 0, static_cast<size_t>(bytes),
                              static_cast<CUstream>(problem.stream)));
}

}  // namespace attnlab::cuda
