#include "libs/model/runtime.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <torch/headeronly/version.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "libs/core/build_info.h"
#include "libs/core/files.h"

namespace attnlab {
namespace {

int CudaDevices() {
  return at::hasCUDA() ? static_cast<int>(at::detail::getCUDAHooks().getNumGPUs()) : 0;
}

// What follows "KEY:" in the first line of `path` that begins with it.
std::string FieldOfFile(const std::string& path, absl::string_view key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!absl::StartsWith(line, key)) continue;
    const size_t colon = line.find(':');
    if (colon != std::string::npos) {
      return std::string(absl::StripAsciiWhitespace(line.substr(colon + 1)));
    }
  }
  return "";
}

// The folders of the GPUs as the driver lists them.
std::vector<std::string> GpuFolders() {
  std::error_code error;
  std::vector<std::string> folders;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/driver/nvidia/gpus", error)) {
    folders.push_back(entry.path().string());
  }
  std::sort(folders.begin(), folders.end());
  return folders;
}

// The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them; found without CUDA.
std::vector<std::string> VisibleGpus() {
  if (const char* listed = std::getenv("CUDA_VISIBLE_DEVICES")) {
    return absl::StrSplit(listed, ',', absl::SkipEmpty());
  }
  std::vector<std::string> names;
  for (size_t i = 0; i < GpuFolders().size(); ++i) names.push_back(absl::StrCat(i));
  return names;
}

// The name of the GPU that has this index among the visible ones.
std::string GpuName(int index) {
  const std::vector<std::string> folders = GpuFolders(), visible = VisibleGpus();
  const std::string name =
      index < static_cast<int>(visible.size()) ? visible[index] : absl::StrCat(index);
  size_t place = 0;
  if (!absl::SimpleAtoi(name, &place) || place >= folders.size())
    return absl::StrCat("CUDA device ", name);
  return FieldOfFile(folders[place] + "/information", "Model");
}

// "580.159.04" of "NVRM version: NVIDIA UNIX ... Kernel Module  580.159.04  Release Build ...".
std::string GpuDriver() {
  const absl::StatusOr<std::string> text = ReadFile("/proc/driver/nvidia/version");
  if (!text.ok()) return "";
  for (size_t at = 0; at < text->size(); ++at) {
    const size_t end = text->find_first_not_of("0123456789.", at);
    const std::string word = text->substr(at, end - at);
    if (word.size() > 5 && word.find('.') != std::string::npos) return word;
    at = text->find_first_of(" \n", at);
    if (at == std::string::npos) break;
  }
  return "";
}

}  // namespace

absl::StatusOr<at::Device> ParseDevice(const std::string& name) {
  const int gpus = CudaDevices();
  if (name == "auto") return gpus > 0 ? at::Device(at::kCUDA, 0) : at::Device(at::kCPU);
  if (name == "cpu") return at::Device(at::kCPU);
  int index = 0;
  if (name != "cuda" && (!absl::StartsWith(name, "cuda:") ||
                         !absl::SimpleAtoi(name.substr(5), &index) || index < 0)) {
    return absl::InvalidArgumentError(
        absl::StrCat("unknown device \"", name, "\": auto, cpu, cuda or cuda:N"));
  }
  if (index >= gpus) {
    return absl::InvalidArgumentError(absl::StrCat("device ", name, " is not there: LibTorch sees ",
                                                   gpus, " GPUs; take --device cpu"));
  }
  return at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(index));
}

void TakeOneGpu(const std::string& device, size_t index) {
  if (device != "auto" && device != "cuda") return;
  const std::vector<std::string> gpus = VisibleGpus();
  if (gpus.size() < 2) return;
  setenv("CUDA_VISIBLE_DEVICES", gpus[index % gpus.size()].c_str(), /*overwrite=*/1);
}

void SetThreads(int64_t threads) {
  if (threads <= 0) threads = std::max(1u, std::thread::hardware_concurrency());
  at::set_num_threads(static_cast<int>(threads));
}

void SetDeterministic(bool deterministic) {
  // cuBLAS repeats its bits only with a workspace of fixed size, set before its first use.
  if (deterministic) setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);
  at::globalContext().setDeterministicAlgorithms(deterministic, /*warn_only=*/true);
  at::globalContext().setDeterministicFillUninitializedMemory(false);
}

Provenance MachineProvenance(at::Device device, const std::vector<std::string>& command_line) {
  Provenance provenance;
  const BuildInfo& build = BuildInfo::Get();
  provenance.commit = build.commit;
  provenance.dirty = build.dirty;
  provenance.compiler = absl::StrCat(build.compiler, ", ", build.build_type);
  provenance.torch = TORCH_VERSION;
  for (const std::string& argument : command_line) {
    absl::StrAppend(&provenance.command_line, provenance.command_line.empty() ? "" : " ", argument);
  }
  provenance.threads = at::get_num_threads();
  if (device.is_cuda()) {
    provenance.device = GpuName(device.index());
    provenance.driver = GpuDriver();
    const int64_t version = at::detail::getCUDAHooks().versionCUDART();  // 13000 for 13.0
    provenance.cuda = absl::StrCat(version / 1000, ".", version % 1000 / 10);
  } else {
    provenance.device = FieldOfFile("/proc/cpuinfo", "model name");
  }
  provenance.deterministic = at::globalContext().deterministicAlgorithms();
  char host[256] = "";
  gethostname(host, sizeof host - 1);
  provenance.host = host;
  return provenance;
}

}  // namespace attnlab
