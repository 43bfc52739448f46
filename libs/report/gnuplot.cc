// Runs gnuplot and brings its SVG into a shape that many of can stand in one page.
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "libs/core/files.h"
#include "libs/core/status.h"
#include "libs/report/plot.h"

extern char** environ;

namespace attnlab {
namespace {

// A folder that is removed when it goes out of scope.
class TemporaryFolder {
 public:
  static absl::StatusOr<TemporaryFolder> Make() {
    std::error_code error;
    std::string path = (std::filesystem::temp_directory_path(error) / "attnlab-XXXXXX").string();
    if (mkdtemp(path.data()) == nullptr) return ErrnoStatus(errno, "create folder", path);
    return TemporaryFolder(std::move(path));
  }
  ~TemporaryFolder() {
    std::error_code error;
    if (!path_.empty()) std::filesystem::remove_all(path_, error);
  }
  TemporaryFolder(TemporaryFolder&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  const std::string& path() const { return path_; }

 private:
  explicit TemporaryFolder(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

// Runs `gnuplot --default-settings FOLDER/script` there; what it says goes to FOLDER/errors.
absl::Status RunGnuplot(const std::string& script, const std::string& errors) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, errors.c_str(), O_WRONLY | O_CREAT,
                                   0600);
  std::string program = "gnuplot", plain = "--default-settings", file = script;
  char* arguments[] = {program.data(), plain.data(), file.data(), nullptr};
  pid_t child = 0;
  const int error = posix_spawnp(&child, "gnuplot", &actions, nullptr, arguments, environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0)
    return absl::FailedPreconditionError(
        "gnuplot, which draws the plots, cannot be started; install it (Debian: apt-get install "
        "gnuplot-nox)");
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return absl::OkStatus();
  const auto said = ReadFile(errors);
  return absl::InternalError(absl::StrCat("gnuplot failed: ", said.ok() ? *said : ""));
}

void Cut(std::string& text, const std::string& begin, const std::string& end) {
  const size_t from = text.find(begin);
  if (from == std::string::npos) return;
  const size_t to = text.find(end, from);
  if (to != std::string::npos) text.erase(from, to + end.size() - from);
}

// The <svg> element alone; ids and what refers to them get the plot's number, for a page has many.
std::string Embeddable(std::string svg, size_t index) {
  svg.erase(0, svg.find("<svg"));
  Cut(svg, "<title>", "</title>");
  Cut(svg, "<desc>", "</desc>");
  const std::string prefix = absl::StrCat("p", index, "-");
  svg = absl::StrReplaceAll(svg, {{" id=\"", absl::StrCat(" id=\"", prefix)},
                                  {" id='", absl::StrCat(" id='", prefix)},
                                  {"href='#", absl::StrCat("href='#", prefix)},
                                  {"url(#", absl::StrCat("url(#", prefix)}});
  return std::string(absl::StripAsciiWhitespace(svg));
}

}  // namespace

absl::StatusOr<std::vector<std::string>> DrawPlots(const std::vector<Plot>& plots) {
  std::vector<std::string> drawn;
  if (plots.empty()) return drawn;
  ATTNLAB_ASSIGN_OR_RETURN(const TemporaryFolder folder, TemporaryFolder::Make());
  std::string script =
      absl::StrCat("cd '", absl::StrReplaceAll(folder.path(), {{"'", "''"}}), "'\n");
  for (size_t i = 0; i < plots.size(); ++i) script += PlotScript(plots[i], i);
  const std::string script_path = folder.path() + "/script";
  ATTNLAB_RETURN_IF_ERROR(WriteFileAtomically(script_path, script));
  ATTNLAB_RETURN_IF_ERROR(RunGnuplot(script_path, folder.path() + "/errors"));
  for (size_t i = 0; i < plots.size(); ++i) {
    ATTNLAB_ASSIGN_OR_RETURN(std::string svg,
                             ReadFile(absl::StrCat(folder.path(), "/", i, ".svg")));
    drawn.push_back(Embeddable(std::move(svg), i));
  }
  return drawn;
}

}  // namespace attnlab
