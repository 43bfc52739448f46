#include "apps/bench/cpu_attention.h"

#include <ATen/core/Tensor.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "apps/bench/cpu_peer.h"
#include "apps/bench/record.h"
#include "kernels/dispatch.h"
#include "kernels/weighting_info.h"
#include "libs/core/status.h"
#include "libs/model/runtime.h"

namespace attnlab {
namespace {

struct CpuBench {
  double peak;  // FLOP/s of a large matrix product
  int runs;
  BenchRecord record;
};

Measurement RowOf(const char* variant, const char* pass, const Problem& problem, double seconds,
                  double flops, double peer_seconds, double peak) {
  const Shape& s = problem.shape;
  Measurement row;
  row.variant = variant;
  row.kernel = InstructionSets()[0];
  row.dtype = DTypeName(at::kFloat);
  row.mask = problem.mask.causal ? "causal" : "full";
  row.pass = pass;
  row.inputs = "random";
  row.dim = s.head_dim;
  row.tokens = s.keys;
  row.batch = s.batch;
  row.heads = s.heads;
  row.kv_heads = s.kv_heads;
  row.seconds = seconds;
  row.rate = flops / seconds / 1e12;
  row.flash = peer_seconds / seconds;
  row.of_device = flops / seconds / peak;
  return row;
}

void Print(const Measurement& row) {
  absl::PrintF(" %9.3f %8.1f %6.2fx %6.2fx", row.seconds * 1e3, row.rate * 1e3, row.flash,
               1 / row.of_device);
}

absl::Status RunVariant(int weighting, const Shape& shape, bool causal, CpuBench& bench) {
  const char* name = Weightings()[weighting].text.name;
  const std::string wrong = CheckKernels(weighting, shape, causal);
  if (!wrong.empty()) return absl::InternalError(absl::StrFormat("%s: %s", name, wrong));

  BenchProblem problem(weighting, shape, causal);
  Shape peer_shape = shape;
  peer_shape.kv_heads = shape.heads;
  const BenchProblem peer_problem(0, peer_shape, causal);
  const Peer peer = MakePeer(peer_problem);
  const char* failed = nullptr;
  const std::vector<double> seconds =
      TimeInTurns(bench.runs, {[&] { failed = Forward(problem.forward); }, peer.forward,
                               [&] { failed = Backward(problem.backward); }, peer.backward});
  if (failed != nullptr) return absl::InternalError(absl::StrFormat("%s: %s", name, failed));
  const Measurement rows[] = {RowOf(name, "forward", problem.forward, seconds[0],
                                    problem.ForwardFlops(), seconds[1], bench.peak),
                              RowOf(name, "backward", problem.forward, seconds[2],
                                    problem.BackwardFlops(), seconds[3], bench.peak)};
  absl::PrintF("%-18s", name);
  for (const Measurement& row : rows) Print(row);
  absl::PrintF("\n");
  return bench.record.Add({rows[0], rows[1]});
}

absl::Status RunShape(const std::vector<std::string>& variants, const Shape& shape, bool causal,
                      int64_t threads, CpuBench& bench) {
  absl::PrintF("B %d, H %d, T %d, d %d, %s, float32, %d threads, %s, matrix product %.0f GFLOP/s\n",
               shape.batch, shape.heads, shape.keys, shape.head_dim, causal ? "causal" : "full",
               threads, InstructionSets()[0], bench.peak / 1e9);
  absl::PrintF("%-18s %9s %8s %7s %7s %9s %8s %7s %7s\n", "variant", "fwd ms", "GFLOP/s", "/peer",
               "/floor", "bwd ms", "GFLOP/s", "/peer", "/floor");
  for (const std::string& name : variants) {
    ATTNLAB_RETURN_IF_ERROR(RunVariant(*FindWeighting(name), shape, causal, bench));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status RunCpuAttention(const BenchFlags& flags) {
  if (!flags.kernels.empty() || !flags.dtypes.empty() || flags.dead >= 0 || flags.slope >= 0 ||
      flags.inputs != "random") {
    return absl::InvalidArgumentError(
        "--kernels, --dtype, --dead, --slope and --inputs are for a CUDA device: give --device "
        "cuda");
  }
  ATTNLAB_ASSIGN_OR_RETURN(BenchLists lists, ReadLists(flags));
  if (lists.dims.empty()) lists.dims = {64};
  if (lists.tokens.empty()) lists.tokens = {1024};
  const int64_t threads = OrCores(flags.threads);
  ShareThreads(static_cast<int>(threads));
  ATTNLAB_ASSIGN_OR_RETURN(BenchRecord record,
                           BenchRecord::Open(BenchKind::kAttention, flags.out,
                                             MachineProvenance(at::kCPU, flags.command)));
  CpuBench bench{MeasurePeakRate(), static_cast<int>(flags.runs), std::move(record)};
  const int64_t batch = flags.batch > 0 ? flags.batch : 1,
                heads = flags.heads > 0 ? flags.heads : 8;
  const int64_t kv_heads = flags.kv_heads > 0 ? flags.kv_heads : heads;
  absl::Status status;
  for (const int64_t dim : lists.dims) {
    for (const int64_t tokens : lists.tokens) {
      for (const bool causal : lists.causal) {
        if (!status.ok()) break;
        const Shape shape{batch, heads, kv_heads, tokens, tokens, dim, dim};
        status = RunShape(lists.variants, shape, causal, threads, bench);
      }
    }
  }
  const absl::Status finished = bench.record.Finish(status.ok());
  return status.ok() ? finished : status;
}

}  // namespace attnlab
