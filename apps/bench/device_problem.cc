#include "apps/bench/device_problem.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <stdexcept>

#include "apps/bench/measurement.h"
#include "kernels/weighting_info.h"
#include "libs/attention/kernel_path.h"

namespace attnlab {
namespace {

void ThrowIf(const char* error) {
  if (error != nullptr) throw std::runtime_error(error);
}

}  // namespace

bool Contender::SkipsTiles() const {
  return Weightings()[*FindWeighting(options.weighting)].traits.exact_zeros;
}

Problem Contender::On(const Inputs& inputs) const {
  Problem problem = ProblemOf(inputs.q, inputs.k, inputs.v, options, learned);
  if (kernel != "best") problem.kernel = kernel.c_str();
  return problem;
}

std::vector<at::Tensor> InitialLearned(const AttentionOptions& options, int64_t heads,
                                       at::Device device) {
  std::vector<at::Tensor> learned;
  for (const HeadParameter& parameter : HeadParameters(options)) {
    std::vector<float> values;
    for (int64_t h = 0; h < heads; ++h) values.push_back(static_cast<float>(parameter.Initial(h)));
    learned.push_back(at::tensor(values).to(device));
  }
  return learned;
}

DeviceProblem::DeviceProblem(const Inputs& inputs, const Contender& contender, bool gradients)
    : inputs_(inputs), contender_(contender), out_(at::empty_like(inputs.out_grad)) {
  const at::TensorOptions options = inputs.q.options();
  static_cast<Problem&>(forward_) = contender_.On(inputs_);
  forward_.out = ResultOf(out_);
  if (gradients) {
    shift_ = at::empty({inputs.q.size(0), inputs.q.size(1), inputs.q.size(2)},
                       options.dtype(at::kFloat));
    denominator_ = at::empty_like(shift_);
    q_grad_ = at::empty_like(inputs.q);
    k_grad_ = at::empty_like(inputs.k);
    v_grad_ = at::empty_like(inputs.v);
    forward_.shift = shift_.mutable_data_ptr<float>();
    forward_.denominator = denominator_.mutable_data_ptr<float>();
    if (forward_.skip_zero_tiles && contender.SkipsTiles()) {
      const Shape& shape = forward_.shape;
      live_tiles_ = at::zeros({LiveRows(shape), LiveWords(shape)}, options.dtype(at::kInt));
      forward_.live_tiles = reinterpret_cast<uint32_t*>(live_tiles_.mutable_data_ptr<int32_t>());
      backward_.live_tiles = forward_.live_tiles;
    }
    static_cast<Problem&>(backward_) = forward_;
    backward_.out = OperandOf(out_);
    backward_.out_grad = OperandOf(inputs.out_grad);
    backward_.shift = forward_.shift;
    backward_.denominator = forward_.denominator;
    backward_.q_grad = ResultOf(q_grad_);
    backward_.k_grad = ResultOf(k_grad_);
    backward_.v_grad = ResultOf(v_grad_);
    for (size_t i = 0; i < contender.learned.size(); ++i) {
      learned_grad_.push_back(at::zeros({inputs.q.size(1)}, options.dtype(at::kFloat)));
      backward_.learned_grad[i] = learned_grad_[i].mutable_data_ptr<float>();
    }
  }
  const int64_t workspace =
      std::max(WorkspaceBytes(forward_), gradients ? WorkspaceBytes(backward_) : 0);
  if (workspace == 0) return;
  workspace_ = at::zeros({workspace}, options.dtype(at::kByte));
  forward_.workspace = backward_.workspace = workspace_.mutable_data_ptr();
}

void DeviceProblem::Forward() const { ThrowIf(attnlab::Forward(forward_)); }
void DeviceProblem::Backward() const { ThrowIf(attnlab::Backward(backward_)); }
void DeviceProblem::Decode() const { ThrowIf(attnlab::Decode(forward_)); }

double DeviceProblem::SkippedShare(void (DeviceProblem::*launch)() const) {
  const at::Tensor counts = at::zeros({2}, inputs_.q.options().dtype(at::kLong));
  forward_.tile_counts = backward_.tile_counts =
      reinterpret_cast<uint64_t*>(counts.mutable_data_ptr<int64_t>());
  (this->*launch)();
  forward_.tile_counts = backward_.tile_counts = nullptr;
  const at::Tensor read = counts.to(at::kCPU);
  const auto* values = read.const_data_ptr<int64_t>();
  return values[0] == 0 ? kNotMeasured
                        : static_cast<double>(values[1]) / static_cast<double>(values[0]);
}

}  // namespace attnlab
