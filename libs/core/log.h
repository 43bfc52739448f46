// The log: one line an event, on standard error. Results go to standard output and to HDF5, never
// here.
#pragma once

#include <string>

namespace attnlab {

void LogInfo(const std::string& message);
void LogWarning(const std::string& message);
void LogError(const std::string& message);

// Quiet: warnings and errors only.
void SetLogQuiet(bool quiet);

}  // namespace attnlab
