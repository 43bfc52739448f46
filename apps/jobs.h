// Independent pieces of work in processes of their own: the runs of a sweep side by side.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "absl/status/status.h"

namespace attnlab {

struct Jobs {
  size_t count = 0;
  int64_t at_once = 1;
  std::function<absl::Status(size_t)> work;
  // Called here, one at a time, for each piece that ended well. May be empty.
  std::function<absl::Status(size_t)> done;
  // Asked now and then; once it is true no further piece starts.
  std::function<bool()> stop;
};

// Runs work(0) ... work(count - 1), at most `at_once` at the same time. With one at a time they run
// here, in order, and the first error ends it; with more each runs in a child process, an error is
// logged there and the others go on. A child ends with this process and gets SIGTERM when `stop` is
// true. Call it before anything has started threads or asked for a GPU: children are forks.
absl::Status RunJobs(const Jobs& jobs);

}  // namespace attnlab
