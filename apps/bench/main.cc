// bench attention | decode: checks attention kernels against float64, then times them beside
// LibTorch's in the same process.
#include <string>

#include "absl/strings/str_cat.h"
#include "apps/bench/cpu_attention.h"
#include "apps/bench/device_attention.h"
#include "apps/bench/device_decode.h"
#include "apps/bench/device_session.h"
#include "libs/core/status.h"

namespace attnlab {
namespace {

absl::Status RunAttention(const BenchFlags& flags) {
  if (flags.compile) return CompileAttention(flags);
  ATTNLAB_ASSIGN_OR_RETURN(const at::Device device, DeviceOf(flags));
  return device.is_cuda() ? RunDeviceAttention(flags, device) : RunCpuAttention(flags);
}

absl::Status RunDecode(const BenchFlags& flags) {
  if (flags.compile) return CompileDecode(flags);
  ATTNLAB_ASSIGN_OR_RETURN(const at::Device device, DeviceOf(flags));
  if (!device.is_cuda()) {
    return absl::InvalidArgumentError("bench decode needs a CUDA device, and there is none");
  }
  return RunDeviceDecode(flags, device);
}

int AttentionMain(int argc, char** argv, const std::vector<std::string>& command) {
  BenchFlags flags;
  flags.command = command;
  Cli cli(
      "bench attention",
      "Checks forward and backward of the attention kernels against float64, then times them "
      "beside LibTorch's: flash attention on a CPU; flash, cuDNN and memory-efficient attention "
      "on a CUDA device.",
      {"bench attention --device cpu", "bench attention --variants softmax,softpick --tokens 4096",
       "bench attention --device cpu --batch 32 --heads 2 --tokens 64 --dim 32",
       "bench attention --device cuda --mask causal,full --out runs/bench",
       "bench attention --device cuda --dead 0.5 --dim 64 --tokens 8192",
       "bench attention --device cuda --inputs trained:runs/books/softpick",
       "bench attention --compile --arch 90"});
  flags.Declare(BenchKind::kAttention, cli);
  return cli.Run(argc, argv, [&] { return RunAttention(flags); });
}

int DecodeMain(int argc, char** argv, const std::vector<std::string>& command) {
  BenchFlags flags;
  flags.command = command;
  Cli cli(
      "bench decode",
      "Checks the decode kernels of a CUDA device against float64, then times one query a "
      "sequence on a cache of keys and values, beside LibTorch's flash and cuDNN attention.",
      {"bench decode", "bench decode --batch 64 --heads 32 --kv-heads 8 --dim 128 --tokens 4096",
       "bench decode --compile --arch 90"});
  flags.Declare(BenchKind::kDecode, cli);
  return cli.Run(argc, argv, [&] { return RunDecode(flags); });
}

}  // namespace
}  // namespace attnlab

int main(int argc, char** argv) {
  const std::vector<std::string> command(argv, argv + argc);
  const std::string name = argc > 1 ? argv[1] : "";
  if (name == "attention") return attnlab::AttentionMain(argc - 1, argv + 1, command);
  if (name == "decode") return attnlab::DecodeMain(argc - 1, argv + 1, command);
  std::string what;
  attnlab::Cli cli("bench", "Checks and times the attention kernels beside LibTorch's.",
                   {"bench attention", "bench decode", "bench attention --help"});
  cli.Positional("COMMAND", what, "attention or decode; each has a --help");
  return cli.Run(argc, argv, [&] {
    return attnlab::UsageError(absl::StrCat("no command ", what, "; there are attention, decode"));
  });
}
