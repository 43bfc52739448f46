// Errors that users and files can cause, as absl::Status: what went wrong, where, and how to mend
// it.
//
// The code of a status decides the exit code of a program (ExitCode): what a user can mend in a
// recipe or an input file is InvalidArgument, NotFound, AlreadyExists,
// FailedPrecondition or DataLoss; what the machine refused (a full disk, no memory, a lost device)
// is Internal, ResourceExhausted or Unavailable. Aborted says one thing: all was computed, and a
// value missed its bar. OutOfRange is kept for command lines that ask for nothing (UsageError).
#pragma once

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"

namespace attnlab {

inline constexpr int kExitDone = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitBadInput = 3;
inline constexpr int kExitBarMissed = 4;

// The exit code that a program ends with after `status`.
int ExitCode(const absl::Status& status);

// A command line that lacks what the program cannot do without.
absl::Status UsageError(absl::string_view message);

// `status` with "context: " before its message; an OK status stays OK.
absl::Status Annotate(const absl::Status& status, absl::string_view context);

// The message of errno value `error` for an operation on `path`, e.g. "cannot write PATH: No space
// left on device".
absl::Status ErrnoStatus(int error, absl::string_view operation, absl::string_view path);

}  // namespace attnlab

#define ATTNLAB_STATUS_CONCAT_INNER(a, b) a##b
#define ATTNLAB_STATUS_CONCAT(a, b) ATTNLAB_STATUS_CONCAT_INNER(a, b)

// Returns from the calling function when `expr`, an absl::Status, is not OK.
#define ATTNLAB_RETURN_IF_ERROR(expr)                                                      \
  do {                                                                                     \
    if (absl::Status attnlab_status = (expr); !attnlab_status.ok()) return attnlab_status; \
  } while (false)

// Assigns the value of `expr`, an absl::StatusOr<T>, to `lhs` (which may declare a variable), or
// returns its status.
#define ATTNLAB_ASSIGN_OR_RETURN(lhs, expr) \
  ATTNLAB_ASSIGN_OR_RETURN_INNER(ATTNLAB_STATUS_CONCAT(attnlab_or_, __LINE__), lhs, expr)
#define ATTNLAB_ASSIGN_OR_RETURN_INNER(statusor, lhs, expr) \
  auto statusor = (expr);                                   \
  if (!statusor.ok()) return std::move(statusor).status();  \
  lhs = std::move(statusor).value()
