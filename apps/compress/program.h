// The command line that `quantize` and `prune` share.
#pragma once

#include <string>
#include <vector>

namespace attnlab {

struct CompressProgram {
  std::string name;  // "quantize": the program, the kind of its methods and of its records
  std::string description;
  std::vector<std::string> examples;
  // Flags of their own, each the name of a setting: {"bits", "bits of a weight"}.
  struct SettingFlag {
    std::string flag, setting, help;
    bool text = false;  // written in quotes
  };
  std::vector<SettingFlag> flags;
};

int RunCompressProgram(const CompressProgram& program, int argc, char** argv);

}  // namespace attnlab
