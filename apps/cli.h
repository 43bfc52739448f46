// The command line of every program: declared options, --help with commands that work as written,
// exit codes.
//
// The only user of CLI11. Flags are long and kebab-case; standard output carries results, standard
// error the log.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace attnlab {

class Cli {
 public:
  // `examples` stand at the end of --help, one command a line.
  Cli(const std::string& program, const std::string& description,
      const std::vector<std::string>& examples);
  ~Cli();

  // Positional arguments, in order. `name` is upper case ("RECIPE").
  void Positional(const std::string& name, std::string& value, const std::string& help);
  void OptionalPositional(const std::string& name, std::string& value, const std::string& help);
  void Positionals(const std::string& name, std::vector<std::string>& values,
                   const std::string& help);

  // --name VALUE; the value that the variable holds is shown as the default.
  void Option(const std::string& name, std::string& value, const std::string& help);
  void Option(const std::string& name, int64_t& value, const std::string& help);
  void Option(const std::string& name, double& value, const std::string& help);
  // --name VALUE, any number of times.
  void Repeated(const std::string& name, std::vector<std::string>& values, const std::string& help);
  // --name a,b,c
  void List(const std::string& name, std::vector<std::string>& values, const std::string& help);
  void Flag(const std::string& name, bool& value, const std::string& help);

  // Parses the arguments, runs `body`, and returns the exit code: 0 done, 1 failed, 2 usage, 3 bad
  // recipe or input, 4 a bar missed. What `body` returns or throws becomes one line on standard
  // error.
  int Run(int argc, char** argv, const std::function<absl::Status()>& body);

  // What Run does with `body`, for a process of its own.
  static int Guard(const std::function<absl::Status()>& body);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace attnlab
