#include "kernels/cuda/compiler.h"

#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>

#include "kernels/cuda/device_sources.h"
#include "kernels/cuda/runtime.h"

namespace attnlab::cuda {
namespace {

namespace fs = std::filesystem;

std::string SourceOf(const Instance& instance) {
  std::string source;
  for (const auto& [name, value] : instance.macros) {
    source += "#define " + name + " " + value + "\n";
  }
  return source + "#include \"kernels/cuda/device/" + instance.file + "\"\n";
}

std::vector<std::string> OptionsOf(const Instance& instance) {
  const std::string arch = std::to_string(instance.arch) + (instance.arch == 90 ? "a" : "");
  return {
      "--gpu-architecture=sm_" + arch, "--std=c++20", "-default-device", "--ftz=true",
      "--extra-device-vectorization",  "--restrict",  "-lineinfo",       "--diag-suppress=177,549"};
}

// Two passes of FNV-1a with different seeds, in hexadecimal: a name, no protection.
std::string HashOf(const std::string& text) {
  std::string name;
  for (const uint64_t seed : {14695981039346656037ull, 88172645463325252ull}) {
    uint64_t hash = seed;
    for (const unsigned char c : text) hash = (hash ^ c) * 1099511628211ull;
    for (int shift = 60; shift >= 0; shift -= 4) name += "0123456789abcdef"[hash >> shift & 15];
  }
  return name;
}

fs::path CacheFolder() {
  if (const char* folder = std::getenv("ATTNLAB_KERNEL_CACHE")) return folder;
  if (const char* folder = std::getenv("XDG_CACHE_HOME"))
    return fs::path(folder) / "attnlab/kernels";
  if (const char* folder = std::getenv("HOME")) return fs::path(folder) / ".cache/attnlab/kernels";
  return {};
}

constexpr char kMagic[] =
    "\x7f"
    "ELF";  // cubins are ELF files

std::string ReadCached(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return "";
  std::string code((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  return code.starts_with(kMagic) ? code : "";
}

// Written beside and renamed, so that a reader sees a whole file; a cache that cannot be written is
// no error.
void WriteCached(const fs::path& path, const std::string& code) {
  std::error_code ignored;
  fs::create_directories(path.parent_path(), ignored);
  const fs::path temporary = path.string() + "." + std::to_string(getpid());
  std::ofstream file(temporary, std::ios::binary);
  file.write(code.data(), static_cast<std::streamsize>(code.size()));
  file.close();
  if (file) {
    fs::rename(temporary, path, ignored);
  } else {
    fs::remove(temporary, ignored);
  }
}

std::string Compile(const Instance& instance, const std::string& source, std::string& error) {
  const Nvrtc* nvrtc = GetNvrtc(error);
  if (nvrtc == nullptr) return "";
  std::vector<const char*> texts, names;
  for (const DeviceSource& header : DeviceSources()) {
    texts.push_back(header.text);
    names.push_back(header.name);
  }
  nvrtcProgram program;
  nvrtcResult result =
      nvrtc->nvrtcCreateProgram(&program, source.c_str(), instance.file,
                                static_cast<int>(texts.size()), texts.data(), names.data());
  if (result != NVRTC_SUCCESS) {
    error = std::string("NVRTC: ") + nvrtc->nvrtcGetErrorString(result);
    return "";
  }
  std::vector<std::string> options = OptionsOf(instance);
  const bool log_wanted = std::getenv("ATTNLAB_KERNEL_LOG") != nullptr;
  if (log_wanted) options.push_back("--ptxas-options=-v");
  std::vector<const char*> arguments;
  for (const std::string& option : options) arguments.push_back(option.c_str());
  result =
      nvrtc->nvrtcCompileProgram(program, static_cast<int>(arguments.size()), arguments.data());
  size_t size = 0;
  std::string code;
  if (result == NVRTC_SUCCESS) {
    nvrtc->nvrtcGetCUBINSize(program, &size);
    code.resize(size);
    nvrtc->nvrtcGetCUBIN(program, code.data());
  }
  nvrtc->nvrtcGetProgramLogSize(program, &size);
  std::string log(size, '\0');
  nvrtc->nvrtcGetProgramLog(program, log.data());
  nvrtc->nvrtcDestroyProgram(&program);
  if (log_wanted) {
    std::fprintf(stderr, "%s%s\n", source.c_str(), log.c_str());
  }
  if (code.empty()) {
    error = std::string("NVRTC: ") + nvrtc->nvrtcGetErrorString(result) + " in " + instance.file +
            "\n" + source + log.c_str();
  }
  return code;
}

// Everything that the code depends on.
std::string KeyOf(const Instance& instance, const std::string& source, std::string& error) {
  const Nvrtc* nvrtc = GetNvrtc(error);
  if (nvrtc == nullptr) return "";
  int major = 0, minor = 0;
  nvrtc->nvrtcVersion(&major, &minor);
  std::string key = std::to_string(major) + "." + std::to_string(minor) + "\n" + source;
  for (const std::string& option : OptionsOf(instance)) key += option + "\n";
  return key + DeviceSourcesHash();
}

}  // namespace

std::string MachineCode(const Instance& instance, std::string& error) {
  const std::string source = SourceOf(instance);
  const std::string key = KeyOf(instance, source, error);
  if (key.empty()) return "";
  const fs::path folder = CacheFolder();
  const fs::path path = folder / (HashOf(key) + ".cubin");
  std::string code;
  if (!folder.empty()) code = ReadCached(path);
  if (!code.empty()) return code;
  code = Compile(instance, source, error);
  if (!code.empty() && !folder.empty()) WriteCached(path, code);
  return code;
}

CUfunction GetKernel(const Instance& instance, const char* name, int ordinal, int shared_bytes,
                     std::string& error) {
  struct Kernel {
    CUkernel kernel;
    std::map<int, int> shared_bytes;  // by device
  };
  static std::mutex mutex;
  static auto& kernels = *new std::map<std::string, Kernel>;
  const Driver* driver = GetDriver(error);
  if (driver == nullptr) return nullptr;
  const std::lock_guard lock(mutex);
  const std::string key = std::to_string(instance.arch) + name + SourceOf(instance);
  auto found = kernels.find(key);
  if (found == kernels.end()) {
    const std::string code = MachineCode(instance, error);
    if (code.empty()) return nullptr;
    CUlibrary library;
    Kernel kernel{};
    error = Describe(
        "cuLibraryLoadData",
        driver->cuLibraryLoadData(&library, code.data(), nullptr, nullptr, 0, nullptr, nullptr, 0));
    if (error.empty()) {
      error =
          Describe("cuLibraryGetKernel", driver->cuLibraryGetKernel(&kernel.kernel, library, name));
    }
    if (!error.empty()) return nullptr;
    found = kernels.emplace(key, kernel).first;
  }
  Kernel& kernel = found->second;
  if (kernel.shared_bytes[ordinal] < shared_bytes) {
    CUdevice device = 0;
    error = Describe("cuDeviceGet", driver->cuDeviceGet(&device, ordinal));
    if (error.empty()) {
      error = Describe("cuKernelSetAttribute",
                       driver->cuKernelSetAttribute(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                                    shared_bytes, kernel.kernel, device));
    }
    if (!error.empty()) return nullptr;
    kernel.shared_bytes[ordinal] = shared_bytes;
  }
  return reinterpret_cast<CUfunction>(kernel.kernel);
}

}  // namespace attnlab::cuda
