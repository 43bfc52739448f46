// The built programs as processes of their own, for tests of what a user sees: exit codes, output,
// files, signals.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "tests/test_folder.h"

namespace attnlab {

void WriteText(const std::string& path, const std::string& text);
std::string ReadText(const std::string& path);  // a failure of the test when it cannot be read

// How a program ended.
struct Outcome {
  int exit_code = -1;  // -1 when a signal ended it
  int signal = 0;
  std::string out, err;  // what it wrote

  // The lines of `err` that report an error.
  std::vector<std::string> ErrorLines() const;
};

// A running program; it is killed when this goes out of scope.
class Program {
 public:
  // Starts bin/NAME of the build with `arguments`. No file that it writes grows over
  // `largest_file` bytes; 0 = no limit.
  Program(const std::string& name, const std::vector<std::string>& arguments,
          int64_t largest_file = 0);
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  bool Running();
  void Signal(int signal);
  Outcome Wait();

 private:
  TestFolder output_;
  pid_t pid_ = -1;
  int status_ = 0;
  bool ended_ = false;
};

// Runs a program to its end.
Outcome RunProgram(const std::string& name, const std::vector<std::string>& arguments,
                   int64_t largest_file = 0);

// A recipe of a training run of 60 steps that takes well under a second: one layer of 16 units on
// Bigram-Backcopy with 8 symbols.
std::string TinyRecipe();

}  // namespace attnlab
