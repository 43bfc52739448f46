// The command line of `bench attention` and `bench decode`, and what it asks for.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "apps/bench/measurement.h"
#include "apps/cli.h"

namespace attnlab {

struct BenchFlags {
  std::string device = "auto", inputs = "random", text, out;
  std::vector<std::string> variants, kernels, dtypes, dims, tokens, masks;
  int64_t batch = 0, heads = 0, kv_heads = 0, runs = 15, threads = 0;
  double dead = -1;   // none
  double slope = -1;  // the variant's own
  bool compile = false;
  int64_t arch = 90, jobs = 0;
  std::vector<std::string> command;  // argv

  void Declare(BenchKind kind, Cli& cli);
};

// The lists of the flags, each with its default where the flag is not given.
struct BenchLists {
  std::vector<std::string> variants;  // names; all, of those with exact zeros where tiles are dead
  std::vector<std::string> kernels;   // "best", or names
  std::vector<at::ScalarType> dtypes;
  std::vector<int64_t> dims, tokens;  // empty where the flag is not given
  std::vector<bool> causal;
};

// InvalidArgument names the flag, its value and what it may be.
absl::StatusOr<BenchLists> ReadLists(const BenchFlags& flags);

// The folder of --inputs trained:FOLDER, empty for random ones; InvalidArgument for anything else.
absl::StatusOr<std::string> TrainedFolder(const BenchFlags& flags);

// "bfloat16", "float16", "float32".
std::string DTypeName(at::ScalarType type);

// `flag`, or one for each core where it is 0.
int64_t OrCores(int64_t flag);

}  // namespace attnlab
