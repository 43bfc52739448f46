// ATTNLAB_CHECK: an invariant of our own code. What users or files can get wrong is an absl::Status
// (status.h).
#pragma once

#include <string>

namespace attnlab::internal {
[[noreturn]] void CheckFailed(const char* file, int line, const char* condition,
                              const std::string& message);
}  // namespace attnlab::internal

// Aborts with file, line, the condition and `...` (an optional std::string) when `condition` is
// false.
#define ATTNLAB_CHECK(condition, ...)                                                             \
  do {                                                                                            \
    if (!(condition)) [[unlikely]]                                                                \
      ::attnlab::internal::CheckFailed(__FILE__, __LINE__, #condition, std::string(__VA_ARGS__)); \
  } while (false)
