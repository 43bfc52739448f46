#include "apps/bench/flags.h"

#include <algorithm>
#include <thread>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "kernels/weighting_info.h"
#include "libs/attention/options.h"
#include "libs/core/status.h"

namespace attnlab {
namespace {

constexpr std::pair<const char*, at::ScalarType> kDTypes[] = {
    {"bfloat16", at::kBFloat16}, {"float16", at::kHalf}, {"float32", at::kFloat}};

absl::Status Unknown(absl::string_view flag, absl::string_view value, absl::string_view known) {
  return absl::InvalidArgumentError(
      absl::StrCat("--", flag, ": no ", value, "; there are ", known));
}

absl::StatusOr<std::vector<int64_t>> Sizes(const char* flag,
                                           const std::vector<std::string>& texts) {
  std::vector<int64_t> sizes;
  for (const std::string& text : texts) {
    int64_t size = 0;
    if (!absl::SimpleAtoi(text, &size) || size < 1) {
      return absl::InvalidArgumentError(
          absl::StrCat("--", flag, ": ", text, " is not a whole number from 1 on"));
    }
    sizes.push_back(size);
  }
  return sizes;
}

absl::StatusOr<std::vector<std::string>> Variants(const BenchFlags& flags) {
  const std::vector<std::string> all = WeightingNames();
  const auto skips = [](const std::string& name) {
    return Weightings()[*FindWeighting(name)].traits.exact_zeros;
  };
  const auto slopes = [&](const std::string& name) {
    const auto learned = Weightings()[*FindWeighting(name)].learned;
    return std::any_of(learned.begin(), learned.end(),
                       [](const Learned& p) { return std::string_view(p.name) == "slope"; });
  };
  const auto fits = [&](const std::string& name) {
    return (flags.dead < 0 || skips(name)) && (flags.slope < 0 || slopes(name));
  };
  std::vector<std::string> variants = flags.variants;
  for (const std::string& name : variants) {
    if (!FindWeighting(name)) return Unknown("variants", name, absl::StrJoin(all, ", "));
    if (flags.dead >= 0 && !skips(name)) {
      return absl::InvalidArgumentError(
          absl::StrCat("--dead: ", name, " gives no score the weight 0, so no tile can be dead"));
    }
    if (flags.slope >= 0 && !slopes(name)) {
      return absl::InvalidArgumentError(
          absl::StrCat("--slope: the scores of ", name, " do not depend on distance"));
    }
  }
  if (variants.empty()) {
    std::copy_if(all.begin(), all.end(), std::back_inserter(variants), fits);
  }
  return variants;
}

absl::StatusOr<std::vector<std::string>> Kernels(const std::vector<std::string>& names) {
  const std::vector<std::string> all = {"hopper", "mma", "oracle"};
  if (names.empty()) return std::vector<std::string>{"best"};
  if (names == std::vector<std::string>{"all"}) return all;
  for (const std::string& name : names) {
    if (name == "best" || std::find(all.begin(), all.end(), name) != all.end()) continue;
    return Unknown("kernels", name, absl::StrCat("best, all, ", absl::StrJoin(all, ", ")));
  }
  return names;
}

}  // namespace

void BenchFlags::Declare(BenchKind kind, Cli& cli) {
  const bool attention = kind == BenchKind::kAttention;
  cli.Option("device", device, attention ? "auto, cpu, cuda or cuda:N" : "auto, cuda or cuda:N");
  cli.List("variants", variants, "variants to run; all if none is named");
  cli.List("kernels", kernels, "best, all, or names: hopper, mma, oracle (CUDA)");
  cli.List("dtype", dtypes, "bfloat16, float16, float32 (CUDA; bfloat16 if none is named)");
  cli.List("dim", dims, attention ? "head dims; 64,128 on CUDA, 64 on a CPU" : "head dims");
  cli.List("tokens", tokens,
           attention ? "sequence lengths; 2048,4096,8192,16384 on CUDA, 1024 on a CPU"
                     : "keys of each sequence");
  if (attention) cli.List("mask", masks, "causal, full; causal if none is named");
  cli.Option("batch", batch,
             attention ? "sequences; 0 = 16384 tokens in all (CUDA), 1 (CPU)" : "sequences");
  cli.Option("heads", heads,
             attention ? "query heads; 0 = hidden width 2048 (CUDA), 8 (CPU)" : "query heads");
  cli.Option("kv-heads", kv_heads, "key heads; 0 = as many as query heads");
  if (attention) {
    cli.Option("dead", dead, "share of tiles whose scores are all negative (CUDA); -1 = random");
    cli.Option("slope", slope,
               "what thresholded_relu takes from a score for each step of distance, in all heads; "
               "timed without skipping too (CUDA); -1 = a start of training");
    cli.Option("inputs", inputs,
               "random, or trained:MODEL, the operands of a model's layers (CUDA)");
    cli.Option("text", text, "text file that the model reads; else its held-out data");
    cli.Option("threads", threads, "cores of a CPU run; 0 = all");
  }
  cli.Option("runs", runs, "timed runs, of which the middle counts");
  cli.Flag("compile", compile, "only compile the CUDA kernels that this run needs; no device");
  cli.Option("arch", arch, "what to compile for, 10 times the compute capability");
  cli.Option("jobs", jobs, "kernels that compile at the same time; 0 = one a core");
  cli.Option("out", out, "folder for results.h5");
}

absl::StatusOr<BenchLists> ReadLists(const BenchFlags& flags) {
  if (flags.dead > 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("--dead: ", flags.dead, " is no share: 0 to 1, or -1 for random inputs"));
  }
  if (flags.slope >= 0 && (flags.dead >= 0 || flags.inputs != "random")) {
    return absl::InvalidArgumentError(
        "--slope is for random inputs: leave --dead and --inputs out");
  }
  BenchLists lists;
  ATTNLAB_ASSIGN_OR_RETURN(lists.variants, Variants(flags));
  ATTNLAB_ASSIGN_OR_RETURN(lists.kernels, Kernels(flags.kernels));
  ATTNLAB_ASSIGN_OR_RETURN(lists.dims, Sizes("dim", flags.dims));
  ATTNLAB_ASSIGN_OR_RETURN(lists.tokens, Sizes("tokens", flags.tokens));
  for (const std::string& name : flags.dtypes) {
    const auto* found = std::find_if(std::begin(kDTypes), std::end(kDTypes),
                                     [&](const auto& dtype) { return name == dtype.first; });
    if (found == std::end(kDTypes)) return Unknown("dtype", name, "bfloat16, float16, float32");
    lists.dtypes.push_back(found->second);
  }
  if (lists.dtypes.empty()) lists.dtypes = {at::kBFloat16};
  for (const std::string& name : flags.masks) {
    if (name != "causal" && name != "full") return Unknown("mask", name, "causal, full");
    lists.causal.push_back(name == "causal");
  }
  if (lists.causal.empty()) lists.causal = {true};
  return lists;
}

absl::StatusOr<std::string> TrainedFolder(const BenchFlags& flags) {
  absl::string_view folder = flags.inputs;
  if (folder == "random") return std::string();
  if (!absl::ConsumePrefix(&folder, "trained:") || folder.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--inputs: \"", flags.inputs, "\" is neither random nor trained:MODEL"));
  }
  if (flags.dead >= 0) {
    return absl::InvalidArgumentError("--dead makes inputs of its own: leave --inputs out");
  }
  if (!flags.variants.empty()) {
    return absl::InvalidArgumentError(
        "--variants: a trained model has one variant; leave the flag out");
  }
  return std::string(folder);
}

std::string DTypeName(at::ScalarType type) {
  for (const auto& [name, known] : kDTypes) {
    if (known == type) return name;
  }
  return "";
}

int64_t OrCores(int64_t flag) {
  return flag > 0 ? flag : std::max(1u, std::thread::hardware_concurrency());
}

}  // namespace attnlab
