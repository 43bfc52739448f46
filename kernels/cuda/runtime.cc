#include "kernels/cuda/runtime.h"

#include <dlfcn.h>

#include <array>
#include <memory>
#include <mutex>

namespace attnlab::cuda {
namespace {

// The folder, with a slash, of the library that `symbol` lies in; empty where that is not known.
std::string FolderOf(void* symbol) {
  Dl_info info;
  if (symbol == nullptr || dladdr(symbol, &info) == 0 || info.dli_fname == nullptr) return "";
  const std::string path = info.dli_fname;
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash + 1);
}

// The folder of CUDA's runtime where it is loaded already: CUDA's libraries stand side by side.
std::string RuntimeFolder(const std::string& major) {
  void* handle = dlopen(("libcudart.so." + major).c_str(), RTLD_NOW | RTLD_NOLOAD);
  if (handle == nullptr) return "";
  const std::string folder = FolderOf(dlsym(handle, "cudaGetDevice"));
  dlclose(handle);
  return folder;
}

void* OpenNvrtc() {
  const std::string major = std::to_string(CUDA_VERSION / 1000);
  const std::string name = "libnvrtc.so." + major;
  for (const std::string& path :
       {RuntimeFolder(major) + name, name, std::string("/usr/local/cuda/lib64/") + name,
        std::string(ATTNLAB_CUDA_LIBRARIES "/") + name}) {
    if (void* handle = dlopen(path.c_str(), RTLD_NOW)) return handle;
  }
  return nullptr;
}

// NVRTC opens a second library by its bare name when it compiles. That one stands beside it, where
// the loader need not look; once it is open under its name, it is found.
void OpenBuiltins(const Nvrtc& nvrtc) {
  int major = 0, minor = 0;
  nvrtc.nvrtcVersion(&major, &minor);
  const std::string name =
      "libnvrtc-builtins.so." + std::to_string(major) + "." + std::to_string(minor);
  const std::string folder = FolderOf(reinterpret_cast<void*>(nvrtc.nvrtcVersion));
  dlopen((folder + name).c_str(), RTLD_NOW | RTLD_GLOBAL);
}

// Fills `functions` from `handle`, or names the function that is missing.
template <class Functions>
struct Loaded {
  Functions functions;
  std::string error;
};

Loaded<Driver> LoadDriver() {
  Loaded<Driver> loaded;
  void* handle = dlopen("libcuda.so.1", RTLD_NOW);
  if (handle == nullptr) {
    loaded.error = "no CUDA driver on this machine (libcuda.so.1)";
    return loaded;
  }
  Driver& driver = loaded.functions;
#define ATTNLAB_LOAD(name)                                                     \
  driver.name = reinterpret_cast<decltype(driver.name)>(dlsym(handle, #name)); \
  if (driver.name == nullptr) loaded.error = "the CUDA driver is too old: it has no " #name;
  ATTNLAB_DRIVER_FUNCTIONS(ATTNLAB_LOAD)
#undef ATTNLAB_LOAD
  if (loaded.error.empty()) loaded.error = Describe("cuInit", driver.cuInit(0));
  return loaded;
}

Loaded<Nvrtc> LoadNvrtc() {
  Loaded<Nvrtc> loaded;
  void* handle = OpenNvrtc();
  if (handle == nullptr) {
    loaded.error =
        "NVRTC is not on this machine (libnvrtc.so); it comes with LibTorch's CUDA wheel";
    return loaded;
  }
  Nvrtc& nvrtc = loaded.functions;
#define ATTNLAB_LOAD(name)                                                   \
  nvrtc.name = reinterpret_cast<decltype(nvrtc.name)>(dlsym(handle, #name)); \
  if (nvrtc.name == nullptr) loaded.error = "NVRTC is too old: it has no " #name;
  ATTNLAB_NVRTC_FUNCTIONS(ATTNLAB_LOAD)
#undef ATTNLAB_LOAD
  if (loaded.error.empty()) OpenBuiltins(nvrtc);
  return loaded;
}

constexpr int kMaxDevices = 64;

}  // namespace

const Driver* GetDriver(std::string& error) {
  static const auto& loaded = *new Loaded<Driver>(LoadDriver());
  error = loaded.error;
  return error.empty() ? &loaded.functions : nullptr;
}

const Nvrtc* GetNvrtc(std::string& error) {
  static const auto& loaded = *new Loaded<Nvrtc>(LoadNvrtc());
  error = loaded.error;
  return error.empty() ? &loaded.functions : nullptr;
}

const DeviceInfo* UseDevice(int ordinal, std::string& error) {
  const Driver* driver = GetDriver(error);
  if (driver == nullptr) return nullptr;
  struct Known {
    DeviceInfo info;
    CUcontext context = nullptr;
  };
  static std::mutex mutex;
  static std::array<std::unique_ptr<Known>, kMaxDevices> devices;
  if (ordinal < 0 || ordinal >= kMaxDevices) {
    error = "no CUDA device " + std::to_string(ordinal);
    return nullptr;
  }
  const std::lock_guard lock(mutex);
  std::unique_ptr<Known>& known = devices[ordinal];
  if (known == nullptr) {
    auto found = std::make_unique<Known>();
    CUdevice device = 0;
    int major = 0, minor = 0;
    const auto read = [&](CUdevice_attribute attribute, int& value) {
      if (error.empty()) {
        error = Describe("cuDeviceGetAttribute",
                         driver->cuDeviceGetAttribute(&value, attribute, device));
      }
    };
    error = Describe("cuDeviceGet", driver->cuDeviceGet(&device, ordinal));
    read(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, major);
    read(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, minor);
    read(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, found->info.multiprocessors);
    read(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, found->info.shared_bytes);
    read(CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE, found->info.l2_bytes);
    found->info.arch = 10 * major + minor;
    if (error.empty()) {
      error = Describe("cuDevicePrimaryCtxRetain",
                       driver->cuDevicePrimaryCtxRetain(&found->context, device));
    }
    if (!error.empty()) return nullptr;
    known = std::move(found);
  }
  CUcontext current = nullptr;
  error = Describe("cuCtxGetCurrent", driver->cuCtxGetCurrent(&current));
  if (error.empty() && current != known->context) {
    error = Describe("cuCtxSetCurrent", driver->cuCtxSetCurrent(known->context));
  }
  return error.empty() ? &known->info : nullptr;
}

std::string Describe(const char* name, CUresult result) {
  if (result == CUDA_SUCCESS) return "";
  const char* text = nullptr;
  std::string error;
  const Driver* driver = GetDriver(error);
  if (driver != nullptr) driver->cuGetErrorString(result, &text);
  return std::string(name) + ": " + (text != nullptr ? text : "error " + std::to_string(result));
}

}  // namespace attnlab::cuda
