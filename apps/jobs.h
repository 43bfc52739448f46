// Independent pieces of work in processes of their own: the runs of a sweep side by side.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "absl/status/status.h"

namespace attnlab {

// Runs work(0) ... work(count - 1), at most `jobs` at the same time. With one job they run here, in
// order, and the first error ends it; with more each runs in a child process, an error is logged
// there and the others go on. A child ends with this process; `stop` is asked now and then, and
// once it is true the children get SIGTERM and no further one starts. Call it before anything has
// started threads: children are forks.
absl::Status RunJobs(size_t count, int64_t jobs, const std::function<absl::Status(size_t)>& work,
                     const std::function<bool()>& stop);

}  // namespace attnlab
