#include "apps/bench/device_decode.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "apps/bench/device_peers.h"
#include "apps/bench/device_session.h"
#include "libs/attention/kernel_path.h"
#include "libs/core/status.h"

namespace attnlab {
namespace {

// Together the caches are at least as large; more than any L2 cache.
constexpr double kCacheBytes = 512.0 * (1 << 20);

// One contender on each of the caches.
struct Entry {
  Contender contender;
  std::string kernel;
  Deviations deviations;
  std::vector<std::unique_ptr<DeviceProblem>> problems;
};

std::vector<Contender> DecodersOf(const BenchLists& lists, int64_t heads, at::Device device) {
  std::vector<Contender> contenders = ContendersOf(lists, /*causal=*/true, heads, device);
  for (Contender& contender : contenders) contender.options = ForDecode(contender.options);
  return contenders;
}

// `inputs` with keys and values in memory as the cache of a model holds them, [B, Hkv, S, D].
Inputs AsCache(Inputs inputs) {
  inputs.k = inputs.k.contiguous();
  inputs.v = inputs.v.contiguous();
  return inputs;
}

// Caches of the same numbers, enough of them that a turn finds nothing of its own in the L2 cache.
std::vector<Inputs> Caches(const Shape& shape, at::TensorOptions options) {
  std::vector<Inputs> caches = {AsCache(RandomInputs(shape, options, at::kBFloat16))};
  const double bytes = CacheBytes(shape, caches[0].k.element_size());
  const auto count = std::clamp<int64_t>(std::llround(std::ceil(kCacheBytes / bytes)), 2, 64);
  while (static_cast<int64_t>(caches.size()) < count) {
    Inputs copy = caches[0];
    copy.k = copy.k.clone();
    copy.v = copy.v.clone();
    caches.push_back(std::move(copy));
  }
  return caches;
}

std::vector<Entry> Admit(DeviceSession& session, const std::vector<Inputs>& caches,
                         const BenchLists& lists) {
  std::vector<Entry> entries;
  for (Contender& contender : DecodersOf(lists, caches[0].q.size(1), session.device())) {
    const std::optional<KernelNames> kernels = session.Kernels(contender, caches[0]);
    if (!kernels) continue;
    const Deviations* deviations = session.Check(contender, caches[0]);
    if (deviations == nullptr) continue;
    Entry& entry = entries.emplace_back();
    entry.contender = contender;
    entry.kernel = kernels->forward;
    entry.deviations = *deviations;
    for (const Inputs& cache : caches) {
      entry.problems.push_back(std::make_unique<DeviceProblem>(cache, contender, false));
    }
  }
  return entries;
}

Measurement RowOf(const DeviceSession& session, const Inputs& inputs,
                  const AttentionOptions& options, const std::string& kernel,
                  const Timing& timing) {
  const Shape shape = {inputs.q.size(0), inputs.q.size(1), inputs.k.size(1), 1,
                       inputs.k.size(2), inputs.q.size(3), inputs.v.size(3)};
  Measurement row = session.RowFor(inputs, options);
  row.kernel = kernel;
  row.pass = "decode";
  row.seconds = timing.seconds;
  row.spread = timing.spread;
  const double rate = CacheBytes(shape, inputs.k.element_size()) / timing.seconds;
  row.rate = rate / 1e9;
  row.of_device = rate / session.reach();
  return row;
}

absl::Status Run(DeviceSession& session, const BenchFlags& flags, const BenchLists& lists,
                 const Shape& shape, at::ScalarType dtype) {
  const std::vector<Inputs> caches =
      Caches(shape, at::TensorOptions(session.device()).dtype(dtype));
  std::vector<Entry> entries = Admit(session, caches, lists);
  if (entries.empty()) return absl::OkStatus();
  const auto place = [&](int64_t turn) { return turn % static_cast<int64_t>(caches.size()); };
  std::vector<std::vector<DevicePeer>> peers;  // of each cache
  for (const Inputs& cache : caches) {
    peers.push_back(MakeDevicePeers(cache, entries[0].contender.options, /*gradients=*/false));
  }
  std::vector<std::function<void(int64_t)>> bodies;
  for (size_t i = 0; i < peers[0].size(); ++i) {
    bodies.push_back([&, i](int64_t turn) { peers[place(turn)][i].forward(); });
  }
  for (const Entry& entry : entries) {
    bodies.push_back([&](int64_t turn) { entry.problems[place(turn)]->Decode(); });
  }
  const std::vector<Timing> timings = session.timer().InTurns(flags.runs, bodies);
  std::vector<Measurement> rows;
  size_t next = peers[0].size();
  for (Entry& entry : entries) {
    Measurement& row = rows.emplace_back(
        RowOf(session, caches[0], entry.contender.options, entry.kernel, timings[next++]));
    row.error = entry.deviations.forward;
    row.error_ratio = entry.deviations.forward_ratio;
    if (entry.contender.SkipsTiles()) {
      row.skipped = entry.problems[0]->SkippedShare(&DeviceProblem::Decode);
    }
    for (size_t i = 0; i < peers[0].size(); ++i) {
      SetPeer(row, peers[0][i].name, timings[i].seconds);
    }
  }
  AttentionOptions softmax = entries[0].contender.options;
  softmax.weighting = "softmax";
  for (size_t i = 0; i < peers[0].size(); ++i) {
    rows.push_back(RowOf(session, caches[0], softmax, peers[0][i].name, timings[i]));
  }
  return session.Add(rows);
}

}  // namespace

absl::StatusOr<std::vector<Shape>> DecodeShapes(const BenchFlags& flags, const BenchLists& lists) {
  if (flags.batch == 0 && flags.heads == 0 && flags.kv_heads == 0 && lists.dims.empty() &&
      lists.tokens.empty()) {
    return std::vector<Shape>{{1, 16, 16, 1, 32768, 64, 64},
                              {32, 16, 16, 1, 4096, 64, 64},
                              {16, 32, 8, 1, 8192, 128, 128}};
  }
  const int64_t heads = flags.heads > 0 ? flags.heads : 16;
  const int64_t kv_heads = flags.kv_heads > 0 ? flags.kv_heads : heads;
  if (heads % kv_heads != 0) {
    return absl::InvalidArgumentError("--heads is not a multiple of --kv-heads");
  }
  std::vector<Shape> shapes;
  for (const int64_t dim : lists.dims.empty() ? std::vector<int64_t>{64} : lists.dims) {
    for (const int64_t keys : lists.tokens.empty() ? std::vector<int64_t>{32768} : lists.tokens) {
      shapes.push_back({std::max<int64_t>(1, flags.batch), heads, kv_heads, 1, keys, dim, dim});
    }
  }
  return shapes;
}

absl::Status RunDeviceDecode(const BenchFlags& flags, at::Device device) {
  ATTNLAB_ASSIGN_OR_RETURN(const BenchLists lists, ReadLists(flags));
  ATTNLAB_ASSIGN_OR_RETURN(const std::vector<Shape> shapes, DecodeShapes(flags, lists));
  ATTNLAB_ASSIGN_OR_RETURN(DeviceSession session,
                           DeviceSession::Open(BenchKind::kDecode, device, flags));
  return session.RunToEnd([&]() -> absl::Status {
    for (const at::ScalarType dtype : lists.dtypes) {
      for (const Shape& shape : shapes) {
        ATTNLAB_RETURN_IF_ERROR(Run(session, flags, lists, shape, dtype));
      }
    }
    return absl::OkStatus();
  });
}

absl::Status CompileDecode(const BenchFlags& flags) {
  ATTNLAB_ASSIGN_OR_RETURN(const BenchLists lists, ReadLists(flags));
  ATTNLAB_ASSIGN_OR_RETURN(const std::vector<Shape> shapes, DecodeShapes(flags, lists));
  std::vector<std::vector<Contender>> contenders;  // problems point into them
  std::vector<Problem> problems;
  for (const at::ScalarType dtype : lists.dtypes) {
    for (const Shape& timed : shapes) {
      for (const Shape& shape : {timed, CheckShape(BenchKind::kDecode, timed)}) {
        const Inputs x = AsCache(EmptyInputs(shape, at::TensorOptions(at::kCPU).dtype(dtype)));
        contenders.push_back(DecodersOf(lists, shape.heads, at::kCPU));
        for (const Contender& contender : contenders.back()) problems.push_back(contender.On(x));
      }
    }
  }
  return CompileKernels(BenchKind::kDecode, problems, static_cast<int>(flags.arch),
                        OrCores(flags.jobs));
}

}  // namespace attnlab
