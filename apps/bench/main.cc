// bench: checks each variant's kernels against float64, then times them beside LibTorch's flash
// attention. Standard output is a table: milliseconds, GFLOP/s (4 operations a visible pair, head
// and dim forward, 2.5 times that backward), how many times as fast as the peer, and how many
// times as long as the same operations take in a large matrix product.
#include <algorithm>
#include <thread>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "apps/bench/peer.h"
#include "apps/cli.h"
#include "kernels/dispatch.h"
#include "kernels/weighting_info.h"
#include "libs/core/status.h"

namespace attnlab {
namespace {

struct Options {
  std::vector<std::string> variants;
  int64_t batch = 1, heads = 8, kv_heads = 0, tokens = 1024, dim = 64, runs = 15;
  int64_t threads = std::max(1u, std::thread::hardware_concurrency());
  bool full = false;
};

struct Column {
  double seconds;
  double flops;
  double peer_seconds;
};

void PrintColumn(const Column& column, double peak) {
  absl::PrintF(" %9.3f %8.1f %6.2fx %6.2fx", column.seconds * 1e3,
               column.flops / column.seconds / 1e9, column.peer_seconds / column.seconds,
               column.seconds / (column.flops / peak));
}

absl::Status BenchVariant(int weighting, const Options& options, double peak) {
  const char* name = Weightings()[weighting].text.name;
  const int64_t kv_heads = options.kv_heads > 0 ? options.kv_heads : options.heads;
  const Shape shape{options.batch,  options.heads, kv_heads,   options.tokens,
                    options.tokens, options.dim,   options.dim};
  const std::string wrong = CheckKernels(weighting, shape, !options.full);
  if (!wrong.empty()) return absl::InternalError(absl::StrFormat("%s: %s", name, wrong));

  BenchProblem problem(weighting, shape, !options.full);
  Shape peer_shape = shape;
  peer_shape.kv_heads = shape.heads;
  const BenchProblem peer_problem(0, peer_shape, !options.full);
  const Peer peer = MakePeer(peer_problem);
  const char* failed = nullptr;
  const std::vector<double> seconds =
      TimeInTurns(static_cast<int>(options.runs),
                  {[&] { failed = Forward(problem.forward); }, peer.forward,
                   [&] { failed = Backward(problem.backward); }, peer.backward});
  if (failed != nullptr) return absl::InternalError(absl::StrFormat("%s: %s", name, failed));
  absl::PrintF("%-18s", name);
  PrintColumn({seconds[0], problem.ForwardFlops(), seconds[1]}, peak);
  PrintColumn({seconds[2], problem.BackwardFlops(), seconds[3]}, peak);
  absl::PrintF("\n");
  return absl::OkStatus();
}

absl::Status Bench(const Options& options) {
  ShareThreads(static_cast<int>(options.threads));
  std::vector<int> weightings;
  for (const std::string& name : options.variants) {
    const std::optional<int> weighting = FindWeighting(name);
    if (!weighting) {
      std::vector<std::string> known;
      for (const WeightingInfo& info : Weightings()) known.push_back(info.text.name);
      return absl::InvalidArgumentError(absl::StrCat("--variants: no variant ", name,
                                                     "; there are ", absl::StrJoin(known, ", ")));
    }
    weightings.push_back(*weighting);
  }
  for (int i = 0; options.variants.empty() && i < static_cast<int>(Weightings().size()); ++i) {
    weightings.push_back(i);
  }
  const double peak = MeasurePeakRate();
  absl::PrintF("B %d, H %d, T %d, d %d, %s, float32, %d threads, %s, matrix product %.0f GFLOP/s\n",
               options.batch, options.heads, options.tokens, options.dim,
               options.full ? "full" : "causal", options.threads, InstructionSets()[0], peak / 1e9);
  absl::PrintF("%-18s %9s %8s %7s %7s %9s %8s %7s %7s\n", "variant", "fwd ms", "GFLOP/s", "/peer",
               "/floor", "bwd ms", "GFLOP/s", "/peer", "/floor");
  for (int weighting : weightings) {
    ATTNLAB_RETURN_IF_ERROR(BenchVariant(weighting, options, peak));
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace attnlab

int main(int argc, char** argv) {
  attnlab::Options options;
  attnlab::Cli cli("bench", "Checks and times the attention kernels beside LibTorch's.",
                   {"bench", "bench --variants softmax,softpick --tokens 4096",
                    "bench --batch 32 --heads 2 --tokens 64 --dim 32"});
  cli.List("variants", options.variants, "variants to run; all if none is named");
  cli.Option("batch", options.batch, "sequences");
  cli.Option("heads", options.heads, "query heads");
  cli.Option("kv-heads", options.kv_heads, "key heads; 0 = as many as query heads");
  cli.Option("tokens", options.tokens, "sequence length");
  cli.Option("dim", options.dim, "head dim");
  cli.Option("runs", options.runs, "timed runs, of which the middle counts");
  cli.Option("threads", options.threads, "cores");
  cli.Flag("full", options.full, "no causal mask");
  return cli.Run(argc, argv, [&] { return attnlab::Bench(options); });
}
