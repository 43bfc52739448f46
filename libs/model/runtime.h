// The machine that a run computes on: which device, how many threads, and what provenance says of
// both.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/io/results.h"

namespace attnlab {

// "cpu", "cuda", "cuda:N", or "auto": the first GPU where LibTorch sees one, else the CPU.
// InvalidArgument when the name is unknown or the machine has no such device.
absl::StatusOr<at::Device> ParseDevice(const std::string& name);

// For a process that shares the machine with others of its kind, before it asks for a GPU: where
// `device` leaves the choice open ("auto", "cuda") it sees one GPU alone, number `index` in turn.
void TakeOneGpu(const std::string& device, size_t index);

// CPU threads of LibTorch and of our kernels; 0 = one a core.
void SetThreads(int64_t threads);

// Makes LibTorch choose algorithms that give the same bits at every run.
void SetDeterministic(bool deterministic);

// Build, machine, threads and command line; recipe, seed, parameters and inputs are the caller's.
Provenance MachineProvenance(at::Device device, const std::vector<std::string>& command_line);

}  // namespace attnlab
