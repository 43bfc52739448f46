#include "apps/jobs.h"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <set>

#include "absl/strings/str_cat.h"
#include "apps/cli.h"
#include "libs/core/progress.h"
#include "libs/core/status.h"

namespace attnlab {
namespace {

// Starts work(index) in a child; its process id, or -1.
pid_t Start(size_t index, const std::function<absl::Status(size_t)>& work) {
  std::fflush(stdout);
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child != 0) return child;
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent) _exit(kExitFailed);
  SetProgressLines(true);
  const int code = Cli::Guard([&] { return work(index); });
  std::fflush(stdout);
  _exit(code);
}

absl::Status Summary(size_t failed, size_t count, int worst) {
  if (failed == 0) return absl::OkStatus();
  const std::string message =
      absl::StrCat(failed, " of ", count, " runs did not finish, see above");
  return worst == kExitBadInput ? absl::InvalidArgumentError(message)
                                : absl::InternalError(message);
}

}  // namespace

absl::Status RunJobs(size_t count, int64_t jobs, const std::function<absl::Status(size_t)>& work,
                     const std::function<bool()>& stop) {
  if (jobs <= 1 || count <= 1) {
    for (size_t i = 0; i < count; ++i) ATTNLAB_RETURN_IF_ERROR(work(i));
    return absl::OkStatus();
  }
  std::set<pid_t> running;
  size_t next = 0, failed = 0;
  int worst = 0;
  bool told = false;
  while (next < count || !running.empty()) {
    if (stop() && !told) {
      told = true;
      failed += count - next;
      next = count;
      for (const pid_t child : running) kill(child, SIGTERM);
    }
    while (next < count && static_cast<int64_t>(running.size()) < jobs) {
      const pid_t child = Start(next, work);
      if (child < 0) return ErrnoStatus(errno, "start", "a process");
      running.insert(child);
      ++next;
    }
    int state = 0;
    const pid_t ended = waitpid(-1, &state, WNOHANG);
    if (ended <= 0) {
      const timespec pause{0, 50'000'000};
      nanosleep(&pause, nullptr);
      continue;
    }
    if (running.erase(ended) == 0 || (WIFEXITED(state) && WEXITSTATUS(state) == 0)) continue;
    ++failed;
    worst = std::max(worst, WIFEXITED(state) ? WEXITSTATUS(state) : int{kExitFailed});
  }
  return Summary(failed, count, worst);
}

}  // namespace attnlab
