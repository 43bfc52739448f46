// Runs that never ran, for tests of the report: every part of a record with known numbers.
#pragma once

#include <string>

#include "libs/io/results.h"

namespace attnlab {

// A run of the synthetic task. "softmax" has a sink, everything else has none.
RunResults FakeRun(const std::string& variant, int64_t seed);

// Writes the record of `run` to PATH.
void WriteRun(RunResults run, const std::string& path);

}  // namespace attnlab
