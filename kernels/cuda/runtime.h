// The CUDA driver and the run-time compiler, found when they are first needed: a program that links
// the kernels starts on a machine with neither.
#pragma once

#include <cuda.h>
#include <nvrtc.h>

#include <string>

namespace attnlab::cuda {

// Functions of the driver (libcuda.so.1) that the kernels need.
#define ATTNLAB_DRIVER_FUNCTIONS(X)                                                         \
  X(cuCtxGetCurrent)                                                                        \
  X(cuCtxSetCurrent) X(cuDeviceGet) X(cuDeviceGetAttribute) X(cuDevicePrimaryCtxRetain)     \
      X(cuDriverGetVersion) X(cuGetErrorString) X(cuInit) X(cuKernelSetAttribute)           \
          X(cuLaunchKernelEx) X(cuLibraryGetKernel) X(cuLibraryLoadData) X(cuMemsetD8Async) \
              X(cuTensorMapEncodeTiled)

// Functions of NVRTC (libnvrtc.so of the CUDA release that was built with).
#define ATTNLAB_NVRTC_FUNCTIONS(X)                                                   \
  X(nvrtcCompileProgram)                                                             \
  X(nvrtcCreateProgram) X(nvrtcDestroyProgram) X(nvrtcGetCUBIN) X(nvrtcGetCUBINSize) \
      X(nvrtcGetErrorString) X(nvrtcGetProgramLog) X(nvrtcGetProgramLogSize) X(nvrtcVersion)

struct Driver {
#define ATTNLAB_DECLARE(name) decltype(&::name) name = nullptr;
  ATTNLAB_DRIVER_FUNCTIONS(ATTNLAB_DECLARE)
#undef ATTNLAB_DECLARE
};

struct Nvrtc {
#define ATTNLAB_DECLARE(name) decltype(&::name) name = nullptr;
  ATTNLAB_NVRTC_FUNCTIONS(ATTNLAB_DECLARE)
#undef ATTNLAB_DECLARE
};

// Null, with the reason in `error`, where the library is missing or too old.
const Driver* GetDriver(std::string& error);
const Nvrtc* GetNvrtc(std::string& error);

// What the choice of a kernel and its launch depend on.
struct DeviceInfo {
  int arch = 0;  // 10 times the compute capability: 80, 90
  int multiprocessors = 0;
  int shared_bytes = 0;  // that one block may use
  int l2_bytes = 0;
};

// The device `ordinal`, its primary context current on this thread. Null, with the reason in
// `error`, where there is none.
const DeviceInfo* UseDevice(int ordinal, std::string& error);

// "NAME: what the driver says of it", empty for success.
std::string Describe(const char* name, CUresult result);

}  // namespace attnlab::cuda
