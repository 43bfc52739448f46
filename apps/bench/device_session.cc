#include "apps/bench/device_session.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "libs/core/log.h"
#include "libs/core/status.h"
#include "libs/io/result_names.h"
#include "libs/model/runtime.h"

namespace attnlab {
namespace {

constexpr int64_t kCheckTokens = 500;
constexpr int64_t kCheckedBefore = 300;

// What makes two checks the same one.
std::string CheckKey(const Contender& contender, const Inputs& inputs) {
  std::string key = absl::StrCat(
      contender.options.weighting, " ", contender.kernel, " ", DTypeName(inputs.q.scalar_type()),
      " d ", inputs.q.size(3), " H ", inputs.q.size(1), " Hkv ", inputs.k.size(1),
      contender.options.causal ? " causal" : " full", " window ", contender.options.window,
      ", skipping ", contender.options.skip_zero_tiles);
  for (const auto& [name, value] : contender.options.constants) {
    absl::StrAppend(&key, " ", name, " ", value);
  }
  return key;
}

Metric MatrixProductMetric(double rate) {
  return {rate / 1e12, "matrix product", "TFLOP/s", "higher",
          "bfloat16 product of two matrices of 8192 by 8192 normal numbers, median"};
}

Metric CopyMetric(double bandwidth) {
  return {bandwidth / 1e9, "copy", "GB/s", "higher",
          "bytes read and written by a copy of 2 GiB on the device, median"};
}

}  // namespace

Shape CheckShape(BenchKind kind, Shape shape) {
  shape.batch = 1;
  shape.queries = std::min(kCheckTokens, shape.queries);
  shape.keys = std::min(shape.queries + kCheckedBefore, shape.keys);
  if (kind == BenchKind::kDecode) shape.queries = 1;
  return shape;
}

absl::StatusOr<at::Device> DeviceOf(const BenchFlags& flags) { return ParseDevice(flags.device); }

std::vector<Contender> ContendersOf(const BenchLists& lists, bool causal, int64_t heads,
                                    at::Device device) {
  std::vector<Contender> contenders;
  for (const std::string& variant : lists.variants) {
    for (const std::string& kernel : lists.kernels) {
      Contender& contender = contenders.emplace_back();
      contender.options.weighting = variant;
      contender.options.causal = causal;
      contender.learned = InitialLearned(contender.options, heads, device);
      contender.kernel = kernel;
    }
  }
  return contenders;
}

absl::StatusOr<DeviceSession> DeviceSession::Open(BenchKind kind, at::Device device,
                                                  const BenchFlags& flags) {
  ATTNLAB_ASSIGN_OR_RETURN(const int arch, ArchOf(device.index()));
  auto timer = std::make_unique<GpuTimer>(device);
  Provenance provenance = MachineProvenance(device, flags.command);
  if (const std::string name = timer->state().Name(); !name.empty()) provenance.device = name;
  if (const std::string driver = timer->state().Driver(); !driver.empty()) {
    provenance.driver = driver;
  }
  ATTNLAB_ASSIGN_OR_RETURN(BenchRecord record, BenchRecord::Open(kind, flags.out, provenance));
  DeviceSession session(kind, device, arch, std::move(record));
  session.timer_ = std::move(timer);
  const Clocks most = session.timer_->state().Most();
  absl::PrintF("%s, driver %s, CUDA %s, LibTorch %s, at most %.0f MHz (memory %.0f)\n",
               provenance.device, provenance.driver, provenance.cuda, provenance.torch, most.sm,
               most.memory);
  ATTNLAB_RETURN_IF_ERROR(session.Measure());
  absl::PrintF("%s\n", HeaderLine(kind));
  return session;
}

absl::Status DeviceSession::Measure() {
  const double product = timer_->MatrixProductRate();
  const Clocks clocks = timer_->clocks();
  const double bandwidth = timer_->CopyBandwidth();
  absl::PrintF("matrix product %.1f TFLOP/s at %.0f MHz, copy %.0f GB/s\n", product / 1e12,
               clocks.sm, bandwidth / 1e9);
  reach_ = kind_ == BenchKind::kDecode ? bandwidth : product;
  ATTNLAB_RETURN_IF_ERROR(record_.Write(names::kMatrixProductRate, MatrixProductMetric(product)));
  return record_.Write(names::kCopyBandwidth, CopyMetric(bandwidth));
}

std::optional<KernelNames> DeviceSession::Kernels(const Contender& contender,
                                                  const Inputs& inputs) const {
  const KernelNames names = KernelsOf(kind_, contender.On(inputs), arch_);
  const bool whole = kind_ == BenchKind::kDecode || names.backward != "none";
  if (names.forward != "none" && whole) return names;
  LogInfo(absl::StrCat(contender.kernel, ": no such kernel for ", CheckKey(contender, inputs)));
  return std::nullopt;
}

const Deviations* DeviceSession::Check(const Contender& contender, const Inputs& inputs) {
  const std::string key = CheckKey(contender, inputs);
  const auto [it, fresh] = checks_.try_emplace(key);
  if (fresh) {
    const bool decode = kind_ == BenchKind::kDecode;
    const Shape shape = CheckShape(kind_, contender.On(inputs).shape);
    const auto deviations = CheckOnDevice(contender, shape, inputs.q.options(), !decode);
    if (deviations.ok()) {
      it->second = *deviations;
    } else {
      ++wrong_;
      LogError(absl::StrCat(key, ": ", deviations.status().message()));
    }
  }
  return it->second ? &*it->second : nullptr;
}

Measurement DeviceSession::RowFor(const Inputs& inputs, const AttentionOptions& options) const {
  Measurement row;
  row.variant = options.weighting;
  row.dtype = DTypeName(inputs.q.scalar_type());
  row.mask = !options.causal      ? "full"
             : options.window > 0 ? absl::StrCat("window ", options.window)
                                  : "causal";
  row.inputs = inputs.name;
  row.dim = inputs.q.size(3);
  row.tokens = inputs.k.size(2);
  row.batch = inputs.q.size(0);
  row.heads = inputs.q.size(1);
  row.kv_heads = inputs.k.size(1);
  row.sm_clock = timer_->clocks().sm;
  row.memory_clock = timer_->clocks().memory;
  return row;
}

absl::Status DeviceSession::Add(const std::vector<Measurement>& rows) {
  for (const Measurement& row : rows) absl::PrintF("%s\n", LineOf(row));
  std::fflush(stdout);
  return record_.Add(rows);
}

absl::Status DeviceSession::RunToEnd(const std::function<absl::Status()>& body) {
  absl::Status status;
  try {
    status = body();
  } catch (const std::exception& error) {
    const std::string what = error.what();
    status = absl::InternalError(what.substr(0, what.find('\n')));
  }
  if (status.ok() && wrong_ > 0) {
    status = absl::InternalError(
        absl::StrCat(wrong_, " kernels failed the check against float64 and were not timed"));
  }
  const absl::Status finished = record_.Finish(status.ok());
  return status.ok() ? finished : status;
}

}  // namespace attnlab
