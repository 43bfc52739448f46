// Which code a launch runs: the instruction sets of this build and machine.
#pragma once

#include <span>
#include <string_view>

#include "kernels/attention.h"

namespace attnlab {

// The instruction sets that this build has and this machine runs, best first: of avx512, avx2,
// baseline.
std::span<const char* const> InstructionSets();

// Runs CPU kernels on `name`, one of InstructionSets(), from now on; false when it is not one. The
// default is the first. Not while a kernel runs.
bool UseInstructionSet(std::string_view name);

// What would run `problem`: "cpu", or on its CUDA device "hopper", "mma" or "oracle"; "none" where
// nothing does.
const char* KernelName(const Problem& problem);

// Null, or what is wrong with what forward, backward and decode share.
const char* CheckProblem(const Problem& problem);

}  // namespace attnlab
