// Kernels compiled for the device at hand when they are first used, one instance of a template of
// kernels/cuda/device/ at a time, by NVRTC. An instance compiles in 2 to 15 s; its machine code is
// kept in memory and in a folder, so that only the first process pays.
//
// The folder is $ATTNLAB_KERNEL_CACHE, else $XDG_CACHE_HOME/attnlab/kernels, else
// ~/.cache/attnlab/kernels. A file's name is the hash of all that its code depends on.
// ATTNLAB_KERNEL_LOG=1 prints what the compiler says of each: registers, spills.
#pragma once

#include <cuda.h>

#include <span>
#include <string>
#include <utility>
#include <vector>

namespace attnlab::cuda {

// An instance: `file` of kernels/cuda/device with these macros defined.
struct Instance {
  const char* file;
  std::vector<std::pair<std::string, std::string>> macros;
  int arch;  // 90 compiles for sm_90a, others for sm_ARCH
};

// Machine code of `instance`, from the cache folder or compiled. Empty with the reason in `error`.
// Needs no device.
std::string MachineCode(const Instance& instance, std::string& error);

// The kernel `name` of `instance`, ready to launch with `shared_bytes` of dynamic shared memory on
// device `ordinal`, the current one. Null with the reason in `error`.
CUfunction GetKernel(const Instance& instance, const char* name, int ordinal, int shared_bytes,
                     std::string& error);

}  // namespace attnlab::cuda
