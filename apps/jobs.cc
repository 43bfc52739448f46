#include "apps/jobs.h"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <map>

#include "absl/strings/str_cat.h"
#include "apps/cli.h"
#include "libs/core/progress.h"
#include "libs/core/status.h"

namespace attnlab {
namespace {

// Starts work() in a child; its process id, or -1.
pid_t Start(const std::function<absl::Status()>& work) {
  std::fflush(stdout);
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child != 0) return child;
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent) _exit(kExitFailed);
  SetProgressLines(true);
  const int code = Cli::Guard(work);
  std::fflush(stdout);
  _exit(code);
}

absl::Status Summary(size_t failed, size_t count, int worst) {
  if (failed == 0) return absl::OkStatus();
  const std::string message =
      absl::StrCat(failed, " of ", count, " jobs did not finish, see above");
  return worst == kExitBadInput ? absl::InvalidArgumentError(message)
                                : absl::InternalError(message);
}

}  // namespace

absl::Status RunJobs(const Jobs& jobs) {
  const auto done = [&](size_t i) { return jobs.done ? jobs.done(i) : absl::OkStatus(); };
  const size_t count = jobs.count;
  if (jobs.at_once <= 1) {
    for (size_t i = 0; i < count; ++i) {
      if (jobs.stop()) return absl::CancelledError("stopped by a signal; go on with --resume");
      ATTNLAB_RETURN_IF_ERROR(jobs.work(i));
      ATTNLAB_RETURN_IF_ERROR(done(i));
    }
    return absl::OkStatus();
  }
  std::map<pid_t, size_t> running;
  size_t next = 0, failed = 0;
  int worst = 0;
  bool told = false;
  while (next < count || !running.empty()) {
    if (jobs.stop() && !told) {
      told = true;
      failed += count - next;
      next = count;
      for (const auto& [child, index] : running) kill(child, SIGTERM);
    }
    while (next < count && static_cast<int64_t>(running.size()) < jobs.at_once) {
      const pid_t child = Start([&] { return jobs.work(next); });
      if (child < 0) return ErrnoStatus(errno, "start", "a process");
      running[child] = next;
      ++next;
    }
    int state = 0;
    const pid_t ended = waitpid(-1, &state, WNOHANG);
    if (ended <= 0) {
      const timespec pause{0, 50'000'000};
      nanosleep(&pause, nullptr);
      continue;
    }
    const auto job = running.extract(ended);
    if (job.empty()) continue;
    if (WIFEXITED(state) && WEXITSTATUS(state) == 0) {
      ATTNLAB_RETURN_IF_ERROR(done(job.mapped()));
      continue;
    }
    ++failed;
    worst = std::max(worst, WIFEXITED(state) ? WEXITSTATUS(state) : int{kExitFailed});
  }
  return Summary(failed, count, worst);
}

}  // namespace attnlab
