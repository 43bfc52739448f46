#include "libs/compress/compress.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <initializer_list>
#include <limits>

#include "absl/strings/str_cat.h"
#include "libs/compress/moments.h"
#include "libs/core/progress.h"
#include "libs/core/status.h"

namespace attnlab {
namespace {

using Clock = std::chrono::steady_clock;

// Tokens in a pass. Each pass over compressed layers unpacks their matrices once. While the inputs
// are measured on a CPU, passes are so short that what a layer makes of them stays in the process's
// memory (libs/model/cpu_setup.h) instead of coming fresh from the system each time.
constexpr int64_t kPass = 16384, kCpuMeasuringPass = 2048;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// x H x^T summed over the rows of `matrix`: |X M^T|^2 up to a factor that cancels in a ratio.
double Energy(const at::Tensor& matrix, const at::Tensor& hessian) {
  return matrix.matmul(hessian).mul(matrix).sum(at::kDouble).item<double>();
}

class Walk {
 public:
  Walk(Transformer& model, const Method& method, const at::Tensor& tokens,
       const CompressOptions& options)
      : model_(model), method_(method), options_(options), needs_(method.needs()) {
    if (!tokens.defined() || (!needs_.inputs && !options.measure_outputs)) return;
    needs_.inputs = true;
    needs_.hessian = true;  // for the output errors
    total_tokens_ = tokens.numel();
    const int64_t length = tokens.size(1);
    const int64_t pass = std::max<int64_t>(1, kPass / length);
    measuring_batch_ =
        model.device().is_cpu() ? std::max<int64_t>(1, kCpuMeasuringPass / length) : pass;
    for (const at::Tensor& batch : tokens.split(options.batch > 0 ? options.batch : pass)) {
      streams_.push_back(model.Embed(batch.to(model.device())));
    }
  }

  absl::StatusOr<CompressReport> Run() {
    const auto start = Clock::now();
    const int64_t layers = model_.config().num_hidden_layers;
    Progress progress("compress", layers, "layers");
    for (int64_t layer = 0; layer < layers; ++layer) {
      const bool original = method_.original_inputs();
      std::vector<at::Tensor> behind;
      if (original) behind = Behind(layer, streams_);
      ATTNLAB_RETURN_IF_ERROR(CompressLayer(layer));
      streams_ = original ? std::move(behind) : Behind(layer, std::move(streams_));
      progress.Update(layer + 1);
    }
    report_.seconds = SecondsSince(start);
    return std::move(report_);
  }

 private:
  absl::Status CompressLayer(int64_t layer) {
    if (needs_.inputs) Measure(layer);
    if (method_.prepares_layers()) {
      ATTNLAB_RETURN_IF_ERROR(method_.PrepareLayer(model_, layer, inputs_));
      if (needs_.inputs) Measure(layer);
    }
    using enum MatrixSlot;
    const std::initializer_list<MatrixSlot> groups[] = {{kQ, kK, kV}, {kO}, {kGate, kUp}, {kDown}};
    for (const auto& group : groups) {
      if (method_.sequential() && needs_.inputs && *group.begin() != kQ) Measure(layer);
      for (const MatrixSlot slot : group) ATTNLAB_RETURN_IF_ERROR(CompressMatrix(layer, slot));
    }
    return absl::OkStatus();
  }

  // What the layer makes of `streams`, as it is now.
  std::vector<at::Tensor> Behind(int64_t layer, std::vector<at::Tensor> streams) const {
    for (at::Tensor& x : streams) x = model_.RunLayer(layer, x, options_.forward);
    return streams;
  }

  // The inputs of the layer's matrices as they are now.
  void Measure(int64_t layer) {
    MomentsProbe probe(needs_, total_tokens_);
    for (const at::Tensor& stream : streams_) {
      for (const at::Tensor& x : stream.split(measuring_batch_)) {
        model_.ProbeLayer(layer, x, probe, options_.forward);
      }
    }
    inputs_ = probe.Finish();
    if (needs_.sample_sequences > 0) inputs_.sequences = FirstSequences();
  }

  at::Tensor FirstSequences() const {
    std::vector<at::Tensor> rows;
    int64_t missing = needs_.sample_sequences;
    for (size_t i = 0; i < streams_.size() && missing > 0; ++i) {
      rows.push_back(streams_[i].narrow(0, 0, std::min(missing, streams_[i].size(0))));
      missing -= rows.back().size(0);
    }
    return at::cat(rows);
  }

  absl::Status CompressMatrix(int64_t layer, MatrixSlot slot) {
    const auto start = Clock::now();
    const at::Tensor before =
        model_.Matrix(layer, slot).detach().to(at::kFloat, /*non_blocking=*/false, /*copy=*/true);
    MatrixWork work;
    work.name = MatrixName(layer, slot);
    work.layer = layer;
    work.slot = slot;
    work.weight = before.clone();
    if (needs_.inputs) work.inputs = &MomentsOf(inputs_, slot);
    if (!before.isfinite().all().item<bool>()) {
      return absl::InvalidArgumentError(work.name + ": the weights are not all finite");
    }
    absl::StatusOr<CompressedMatrix> result = method_.Compress(work);
    if (!result.ok()) return Annotate(result.status(), work.name);
    if (result->stored != nullptr) {
      model_.SetMatrix(layer, slot, result->stored);
    } else {
      model_.SetMatrix(layer, slot, result->dense);
    }
    report_.matrices.push_back(Describe(work, *result, before));
    report_.matrices.back().seconds = SecondsSince(start);
    return absl::OkStatus();
  }

  MatrixReport Describe(const MatrixWork& work, const CompressedMatrix& result,
                        const at::Tensor& before) const {
    const at::Tensor after =
        result.stored != nullptr ? result.stored->Dense(at::kFloat) : result.dense.to(at::kFloat);
    const double count = static_cast<double>(before.numel());
    const at::Tensor change = before - after;
    MatrixReport report;
    report.name = work.name;
    report.layer = work.layer;
    report.rows = before.size(0);
    report.cols = before.size(1);
    report.bits = result.stored != nullptr
                      ? 8.0 * static_cast<double>(result.stored->Bytes()) / count
                      : 8.0 * static_cast<double>(c10::elementSize(options_.dtype));
    report.sparsity = after.eq(0).sum().item<double>() / count;
    const double norm = before.norm().item<double>();
    report.weight_error = norm > 0 ? change.norm().item<double>() / norm : 0;
    report.output_error = std::numeric_limits<double>::quiet_NaN();
    if (work.inputs != nullptr) {
      const double energy = Energy(before, work.inputs->hessian);
      report.output_error =
          energy > 0 ? std::sqrt(std::max(0.0, Energy(change, work.inputs->hessian)) / energy) : 0;
    }
    return report;
  }

  Transformer& model_;
  const Method& method_;
  const CompressOptions& options_;
  CalibrationNeeds needs_;
  int64_t total_tokens_ = 0;
  int64_t measuring_batch_ = 1;      // sequences in a pass that measures
  std::vector<at::Tensor> streams_;  // the residual stream before the layer, a batch each
  LayerInputs inputs_;
  CompressReport report_;
};

// Sums `value` over the matrices, each with its number of weights as its weight.
template <class Value>
double WeightedMean(const std::vector<MatrixReport>& matrices, Value value) {
  double sum = 0, count = 0;
  for (const MatrixReport& matrix : matrices) {
    const double weights = static_cast<double>(matrix.rows * matrix.cols);
    sum += value(matrix) * weights;
    count += weights;
  }
  return sum / count;
}

}  // namespace

double CompressReport::bits() const {
  return WeightedMean(matrices, [](const MatrixReport& m) { return m.bits; });
}
double CompressReport::sparsity() const {
  return WeightedMean(matrices, [](const MatrixReport& m) { return m.sparsity; });
}
double CompressReport::weight_error() const {
  return std::sqrt(WeightedMean(
      matrices, [](const MatrixReport& m) { return m.weight_error * m.weight_error; }));
}
double CompressReport::output_error() const {
  double sum = 0;
  for (const MatrixReport& matrix : matrices) sum += matrix.output_error;
  return sum / static_cast<double>(matrices.size());
}

absl::StatusOr<CompressReport> CompressModel(Transformer& model, const Method& method,
                                             const at::Tensor& tokens,
                                             const CompressOptions& options) {
  const c10::NoGradGuard no_grad;
  if (model.HasStored()) {
    return absl::FailedPreconditionError(
        "the model's weights are packed already; start from the model as it was trained");
  }
  if (method.needs().any() && !tokens.defined()) {
    return absl::InvalidArgumentError("this method needs calibration text");
  }
  ATTNLAB_RETURN_IF_ERROR(method.Check(model.config()));
  ATTNLAB_RETURN_IF_ERROR(method.PrepareModel(model, tokens));
  return Walk(model, method, tokens, options).Run();
}

}  // namespace attnlab
