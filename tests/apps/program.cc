#include "tests/apps/program.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

namespace attnlab {
namespace {

// In the child: output into files, the limit, the program. Only calls that are safe after fork.
[[noreturn]] void Become(const char* path, char* const* argv, const char* out, const char* err,
                         int64_t largest_file) {
  dup2(open(out, O_WRONLY | O_CREAT | O_TRUNC, 0644), STDOUT_FILENO);
  dup2(open(err, O_WRONLY | O_CREAT | O_TRUNC, 0644), STDERR_FILENO);
  if (largest_file > 0) {
    const rlimit limit{static_cast<rlim_t>(largest_file), static_cast<rlim_t>(largest_file)};
    setrlimit(RLIMIT_FSIZE, &limit);
    signal(SIGXFSZ, SIG_IGN);  // so that write() fails with EFBIG
  }
  execv(path, argv);
  _exit(127);
}

}  // namespace

void WriteText(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

std::string ReadText(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << "cannot read " << path;
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::vector<std::string> Outcome::ErrorLines() const {
  std::vector<std::string> lines;
  std::istringstream stream(err);
  for (std::string line; std::getline(stream, line);) {
    // "12:34:56 I ..." and "... W ..." are the log.
    const bool log = line.size() > 10 && line[2] == ':' && (line[9] == 'I' || line[9] == 'W');
    if (!log) lines.push_back(line);
  }
  return lines;
}

Program::Program(const std::string& name, const std::vector<std::string>& arguments,
                 int64_t largest_file) {
  // Beside the test's own program, wherever that was carried.
  const std::string path = std::filesystem::read_symlink("/proc/self/exe").parent_path() / name;
  const std::string out = output_ / "out", err = output_ / "err";
  std::vector<char*> argv = {const_cast<char*>(path.c_str())};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  pid_ = fork();
  EXPECT_GE(pid_, 0);
  if (pid_ == 0) Become(path.c_str(), argv.data(), out.c_str(), err.c_str(), largest_file);
}

Program::~Program() {
  if (!Running()) return;
  Signal(SIGKILL);
  waitpid(pid_, &status_, 0);
}

bool Program::Running() {
  if (!ended_) ended_ = waitpid(pid_, &status_, WNOHANG) == pid_;
  return !ended_;
}

void Program::Signal(int signal) {
  if (!ended_) kill(pid_, signal);
}

Outcome Program::Wait() {
  if (!ended_) waitpid(pid_, &status_, 0);
  ended_ = true;
  Outcome outcome;
  if (WIFEXITED(status_)) outcome.exit_code = WEXITSTATUS(status_);
  if (WIFSIGNALED(status_)) outcome.signal = WTERMSIG(status_);
  outcome.out = ReadText(output_ / "out");
  outcome.err = ReadText(output_ / "err");
  return outcome;
}

Outcome RunProgram(const std::string& name, const std::vector<std::string>& arguments,
                   int64_t largest_file) {
  return Program(name, arguments, largest_file).Wait();
}

std::string TinyRecipe() {
  return R"(name = "tiny"
device = "cpu"
threads = 1

[data]
source = "bigram_backcopy"
sequence_length = 16
batch = 4
validation_sequences = 4

[data.bigram_backcopy]
symbols = 8
triggers = 1
successors = 3

[model]
vocab_size = 9
hidden_size = 16
num_hidden_layers = 1
num_attention_heads = 2
intermediate_size = 32
max_position_embeddings = 16
bos_token_id = 8
eos_token_id = -1

[schedule]
peak = 1e-2
warmup = 10

[train]
steps = 60
log_every = 1
validate_every = 20
checkpoint_every = 5

[analysis]
every = 25
sequences = 2
map_length = 8
)";
}

}  // namespace attnlab
