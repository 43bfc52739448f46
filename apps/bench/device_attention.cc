#include "apps/bench/device_attention.h"

#include <ATen/ops/full_like.h>

#include <memory>

#include "absl/strings/str_cat.h"
#include "apps/bench/device_peers.h"
#include "apps/bench/device_session.h"
#include "apps/bench/trained.h"
#include "libs/core/status.h"

namespace attnlab {
namespace {

constexpr int64_t kTokens = 16384;  // of a batch
constexpr int64_t kHidden = 2048;   // heads times head dim

// One contender that passed its check, ready to be timed.
struct Entry {
  Contender contender;
  KernelNames kernels;
  Deviations deviations;
  std::unique_ptr<DeviceProblem> problem;
  std::unique_ptr<DeviceProblem> unskipped;  // the same without skipping; null: not measured
};

// Forward or backward, of ours and of a peer.
struct Pass {
  const char* name;
  void (DeviceProblem::*ours)() const;
  std::function<void()> DevicePeer::*peer;
  bool backward;
};
const Pass kPasses[] = {{"forward", &DeviceProblem::Forward, &DevicePeer::forward, false},
                        {"backward", &DeviceProblem::Backward, &DevicePeer::backward, true}};

Shape ShapeOf(const BenchFlags& flags, int64_t dim, int64_t tokens) {
  const int64_t heads = flags.heads > 0 ? flags.heads : std::max<int64_t>(1, kHidden / dim);
  return {flags.batch > 0 ? flags.batch : std::max<int64_t>(1, kTokens / tokens),
          heads,
          flags.kv_heads > 0 ? flags.kv_heads : heads,
          tokens,
          tokens,
          dim,
          dim};
}

// Calls body(DTYPE, SHAPE, CAUSAL) for each problem of `lists`.
template <class Body>
absl::Status ForEachShape(const BenchFlags& flags, BenchLists lists, Body&& body) {
  if (lists.dims.empty()) lists.dims = {64, 128};
  if (lists.tokens.empty()) lists.tokens = {2048, 4096, 8192, 16384};
  for (const at::ScalarType dtype : lists.dtypes) {
    for (const int64_t dim : lists.dims) {
      for (const bool causal : lists.causal) {
        for (const int64_t tokens : lists.tokens) {
          const Shape shape = ShapeOf(flags, dim, tokens);
          if (shape.heads % shape.kv_heads != 0) {
            return absl::InvalidArgumentError(absl::StrCat(
                "--kv-heads: ", shape.heads, " heads are no multiple of ", shape.kv_heads));
          }
          ATTNLAB_RETURN_IF_ERROR(body(dtype, shape, causal));
        }
      }
    }
  }
  return absl::OkStatus();
}

// A score's loss with each step of distance, in all heads.
void SetSlopes(Contender& contender, double slope) {
  const std::vector<HeadParameter> parameters = HeadParameters(contender.options);
  for (size_t i = 0; i < parameters.size(); ++i) {
    if (parameters[i].name == "slope") {
      contender.learned[i] = at::full_like(contender.learned[i], slope);
    }
  }
}

class AttentionBench {
 public:
  AttentionBench(const BenchFlags& flags, DeviceSession& session)
      : flags_(flags), session_(session) {}

  absl::Status RunShapes(const BenchLists& lists) {
    return ForEachShape(flags_, lists, [&](at::ScalarType dtype, const Shape& shape, bool causal) {
      const auto options = at::TensorOptions(session_.device()).dtype(dtype);
      auto contenders = ContendersOf(lists, causal, shape.heads, session_.device());
      if (flags_.dead >= 0) {
        // Tiles are dead where the inputs say so and no others.
        for (Contender& contender : contenders) SetSlopes(contender, 0);
        return Run(DeadInputs(shape, options, flags_.dead), contenders, /*skip_gain=*/true);
      }
      Inputs inputs = RandomInputs(shape, options, at::kBFloat16);
      if (flags_.slope >= 0) {
        for (Contender& contender : contenders) SetSlopes(contender, flags_.slope);
        inputs.name = absl::StrCat("slope ", flags_.slope);
      }
      return Run(inputs, contenders, flags_.slope >= 0);
    });
  }

  absl::Status RunTrained(const BenchLists& lists, const TrainedOptions& options) {
    for (const at::ScalarType dtype : lists.dtypes) {
      ATTNLAB_ASSIGN_OR_RETURN(const std::vector<TrainedLayer> layers,
                               TrainedLayers(options, session_.device(), dtype));
      for (const TrainedLayer& layer : layers) {
        std::vector<Contender> contenders;
        for (const std::string& kernel : lists.kernels) {
          contenders.push_back({layer.options, layer.learned, kernel});
        }
        ATTNLAB_RETURN_IF_ERROR(Run(layer.inputs, contenders, /*skip_gain=*/true));
      }
    }
    return absl::OkStatus();
  }

 private:
  absl::Status Run(const Inputs& inputs, const std::vector<Contender>& contenders, bool skip_gain) {
    std::vector<Entry> entries = Admit(inputs, contenders, skip_gain);
    if (entries.empty()) return absl::OkStatus();
    const std::vector<DevicePeer> peers =
        MakeDevicePeers(inputs, contenders[0].options, /*gradients=*/true);
    for (const Pass& pass : kPasses) {
      ATTNLAB_RETURN_IF_ERROR(session_.Add(Time(inputs, entries, peers, pass)));
    }
    return absl::OkStatus();
  }

  // Those contenders that have a kernel and pass its check.
  std::vector<Entry> Admit(const Inputs& inputs, const std::vector<Contender>& contenders,
                           bool skip_gain) {
    std::vector<Entry> entries;
    for (Contender contender : contenders) {
      if (skip_gain) contender.options.skip_zero_tiles = "on";
      const std::optional<KernelNames> kernels = session_.Kernels(contender, inputs);
      if (!kernels) continue;
      const Deviations* deviations = session_.Check(contender, inputs);
      if (deviations == nullptr) continue;
      Entry& entry = entries.emplace_back();
      entry.contender = contender;
      entry.kernels = *kernels;
      entry.deviations = *deviations;
      entry.problem = std::make_unique<DeviceProblem>(inputs, contender, /*gradients=*/true);
      if (!skip_gain || !contender.SkipsTiles()) continue;
      Contender all = contender;
      all.options.skip_zero_tiles = "off";
      entry.unskipped = std::make_unique<DeviceProblem>(inputs, all, /*gradients=*/true);
    }
    return entries;
  }

  // Rows of the entries, then of the peers.
  std::vector<Measurement> Time(const Inputs& inputs, std::vector<Entry>& entries,
                                const std::vector<DevicePeer>& peers, const Pass& pass) {
    std::vector<std::function<void(int64_t)>> bodies;
    for (const DevicePeer& peer : peers) {
      bodies.push_back([&peer, &pass](int64_t) { (peer.*pass.peer)(); });
    }
    for (const Entry& entry : entries) {
      for (const DeviceProblem* problem : {entry.problem.get(), entry.unskipped.get()}) {
        if (problem == nullptr) continue;
        bodies.push_back([problem, &pass](int64_t) { (problem->*pass.ours)(); });
      }
    }
    const std::vector<Timing> timings = session_.timer().InTurns(flags_.runs, bodies);
    std::vector<Measurement> rows;
    size_t next = peers.size();
    for (Entry& entry : entries) {
      Measurement& row = rows.emplace_back(RowOf(
          inputs, entry.contender.options,
          pass.backward ? entry.kernels.backward : entry.kernels.forward, pass, timings[next++]));
      if (entry.unskipped != nullptr) row.skip_gain = timings[next++].seconds / row.seconds;
      if (entry.contender.SkipsTiles()) row.skipped = entry.problem->SkippedShare(pass.ours);
      const Deviations& d = entry.deviations;
      row.error = pass.backward ? d.backward : d.forward;
      row.error_ratio = pass.backward ? d.backward_ratio : d.forward_ratio;
      for (size_t i = 0; i < peers.size(); ++i) {
        SetPeer(row, peers[i].name, timings[i].seconds);
      }
    }
    AttentionOptions softmax = entries[0].contender.options;
    softmax.weighting = "softmax";
    for (size_t i = 0; i < peers.size(); ++i) {
      rows.push_back(RowOf(inputs, softmax, peers[i].name, pass, timings[i]));
    }
    return rows;
  }

  Measurement RowOf(const Inputs& inputs, const AttentionOptions& options,
                    const std::string& kernel, const Pass& pass, const Timing& timing) const {
    Mask mask;
    mask.causal = options.causal;
    mask.window = options.window;
    mask.first_kept = options.first_kept;
    const Shape shape = {inputs.q.size(0), inputs.q.size(1), inputs.k.size(1), inputs.q.size(2),
                         inputs.k.size(2), inputs.q.size(3), inputs.v.size(3)};
    Measurement row = session_.RowFor(inputs, options);
    row.kernel = kernel;
    row.pass = pass.name;
    row.seconds = timing.seconds;
    row.spread = timing.spread;
    const double flops =
        (pass.backward ? BackwardFlops(shape, mask) : ForwardFlops(shape, mask)) / timing.seconds;
    row.rate = flops / 1e12;
    row.of_device = flops / session_.reach();
    return row;
  }

  const BenchFlags& flags_;
  DeviceSession& session_;
};

TrainedOptions TrainedOf(const BenchFlags& flags, const BenchLists& lists,
                         const std::string& folder) {
  return {folder, flags.text, flags.batch, lists.tokens.empty() ? 0 : lists.tokens[0]};
}

}  // namespace

absl::Status RunDeviceAttention(const BenchFlags& flags, at::Device device) {
  ATTNLAB_ASSIGN_OR_RETURN(const BenchLists lists, ReadLists(flags));
  ATTNLAB_ASSIGN_OR_RETURN(const std::string folder, TrainedFolder(flags));
  ATTNLAB_ASSIGN_OR_RETURN(DeviceSession session,
                           DeviceSession::Open(BenchKind::kAttention, device, flags));
  AttentionBench bench(flags, session);
  return session.RunToEnd([&] {
    return folder.empty() ? bench.RunShapes(lists)
                          : bench.RunTrained(lists, TrainedOf(flags, lists, folder));
  });
}

absl::Status CompileAttention(const BenchFlags& flags) {
  ATTNLAB_ASSIGN_OR_RETURN(const BenchLists lists, ReadLists(flags));
  ATTNLAB_ASSIGN_OR_RETURN(const std::string folder, TrainedFolder(flags));
  std::vector<std::unique_ptr<Contender>> contenders;  // problems point into them
  std::vector<Problem> problems;
  const auto add = [&](const Inputs& x, Contender contender, bool skip_gain) {
    for (const char* skip : {"on", "off"}) {
      if (!skip_gain && skip == std::string("off")) continue;
      if (skip_gain) contender.options.skip_zero_tiles = skip;
      contenders.push_back(std::make_unique<Contender>(contender));
      problems.push_back(contenders.back()->On(x));
    }
  };
  if (!folder.empty()) {
    TrainedOptions options = TrainedOf(flags, lists, folder);
    options.batch = 1;
    options.tokens = 64;  // kernels do not depend on it
    for (const at::ScalarType dtype : lists.dtypes) {
      ATTNLAB_ASSIGN_OR_RETURN(const auto layers, TrainedLayers(options, at::kCPU, dtype));
      for (const TrainedLayer& layer : layers) {
        for (const std::string& kernel : lists.kernels) {
          add(layer.inputs, {layer.options, layer.learned, kernel}, true);
        }
      }
    }
  } else {
    ATTNLAB_RETURN_IF_ERROR(
        ForEachShape(flags, lists, [&](at::ScalarType dtype, const Shape& shape, bool causal) {
          for (const Shape& s : {shape, CheckShape(BenchKind::kAttention, shape)}) {
            const Inputs x = EmptyInputs(s, at::TensorOptions(at::kCPU).dtype(dtype));
            for (const Contender& c : ContendersOf(lists, causal, s.heads, at::kCPU)) {
              add(x, c, flags.dead >= 0 || flags.slope >= 0);
            }
          }
          return absl::OkStatus();
        }));
  }
  return CompileKernels(BenchKind::kAttention, problems, static_cast<int>(flags.arch),
                        OrCores(flags.jobs));
}

}  // namespace attnlab
