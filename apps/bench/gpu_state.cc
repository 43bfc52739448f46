#include "apps/bench/gpu_state.h"

#include <dlfcn.h>

namespace attnlab {
namespace {

// The part of nvml.h and cuda.h that is used; NVML_SUCCESS and CUDA_SUCCESS are 0.
constexpr unsigned kSmClock = 1, kMemoryClock = 2;
struct Nvml {
  int (*nvmlInit_v2)() = nullptr;
  int (*nvmlSystemGetDriverVersion)(char*, unsigned) = nullptr;
  int (*nvmlDeviceGetHandleByPciBusId_v2)(const char*, void**) = nullptr;
  int (*nvmlDeviceGetName)(void*, char*, unsigned) = nullptr;
  int (*nvmlDeviceGetClockInfo)(void*, unsigned, unsigned*) = nullptr;
  int (*nvmlDeviceGetMaxClockInfo)(void*, unsigned, unsigned*) = nullptr;
};

template <class Function>
bool Find(void* library, const char* name, Function& function) {
  function = library == nullptr ? nullptr : reinterpret_cast<Function>(dlsym(library, name));
  return function != nullptr;
}

// Null where the library is missing or lacks a function.
const Nvml* GetNvml() {
  static const Nvml* const found = [] {
    static Nvml nvml;
    void* library = dlopen("libnvidia-ml.so.1", RTLD_NOW);
#define ATTNLAB_FIND(name) Find(library, #name, nvml.name)
    const bool whole = ATTNLAB_FIND(nvmlInit_v2) && ATTNLAB_FIND(nvmlSystemGetDriverVersion) &&
                       ATTNLAB_FIND(nvmlDeviceGetHandleByPciBusId_v2) &&
                       ATTNLAB_FIND(nvmlDeviceGetName) && ATTNLAB_FIND(nvmlDeviceGetClockInfo) &&
                       ATTNLAB_FIND(nvmlDeviceGetMaxClockInfo);
#undef ATTNLAB_FIND
    return whole && nvml.nvmlInit_v2() == 0 ? &nvml : nullptr;
  }();
  return found;
}

// NVML numbers devices in its own order: the bus tells which one CUDA means.
std::string BusId(int ordinal) {
  void* driver = dlopen("libcuda.so.1", RTLD_NOW);
  int (*bus_id)(char*, int, int) = nullptr;
  char text[64] = "";
  if (!Find(driver, "cuDeviceGetPCIBusId", bus_id) || bus_id(text, sizeof text, ordinal) != 0) {
    return "";
  }
  return text;
}

Clocks ReadClocks(void* device, int (*read)(void*, unsigned, unsigned*)) {
  unsigned sm = 0, memory = 0;
  Clocks clocks;
  if (read(device, kSmClock, &sm) == 0) clocks.sm = sm;
  if (read(device, kMemoryClock, &memory) == 0) clocks.memory = memory;
  return clocks;
}

}  // namespace

GpuState::GpuState(int ordinal) {
  const Nvml* nvml = GetNvml();
  if (nvml == nullptr) return;
  const std::string bus = BusId(ordinal);
  if (nvml->nvmlDeviceGetHandleByPciBusId_v2(bus.c_str(), &device_) != 0) device_ = nullptr;
}

std::string GpuState::Name() const {
  char text[128] = "";
  if (device_ != nullptr) GetNvml()->nvmlDeviceGetName(device_, text, sizeof text);
  return text;
}

std::string GpuState::Driver() const {
  char text[128] = "";
  if (device_ != nullptr) GetNvml()->nvmlSystemGetDriverVersion(text, sizeof text);
  return text;
}

Clocks GpuState::Now() const {
  return device_ == nullptr ? Clocks() : ReadClocks(device_, GetNvml()->nvmlDeviceGetClockInfo);
}

Clocks GpuState::Most() const {
  return device_ == nullptr ? Clocks() : ReadClocks(device_, GetNvml()->nvmlDeviceGetMaxClockInfo);
}

}  // namespace attnlab
