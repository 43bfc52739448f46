// Row operations: spreads the rows of kernels/fused over LibTorch's threads, or calls LibTorch.

#include "libs/model/row_ops.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/silu_backward.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "kernels/fused/rows.h"
#include "libs/core/check.h"

namespace attnlab {
namespace {

// Numbers that are worth a thread of their own.
constexpr int64_t kGrain = 16384;

int64_t GrainRows(int64_t width) { return std::max<int64_t>(1, kGrain / width); }

template <class Args>
void ForRows(int64_t rows, int64_t width, void (*kernel)(const Args&, int64_t, int64_t),
             const Args& args) {
  at::parallel_for(0, rows, GrainRows(width),
                   [&](int64_t begin, int64_t end) { kernel(args, begin, end); });
}

at::ScalarType LossType(const at::Tensor& logits) {
  return logits.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

void RotateByKernel(const at::Tensor& from, const at::Tensor& to, const at::Tensor& cos,
                    const at::Tensor& sin, bool inverse) {
  ATTNLAB_CHECK(from.stride(3) == 1 && to.stride(3) == 1);
  RopeArgs args;
  args.tokens = from.size(2);
  args.heads = from.size(1);
  args.half = from.size(3) / 2;
  args.cos = cos.const_data_ptr<float>();
  args.sin = sin.const_data_ptr<float>();
  args.inverse = inverse;
  args.from = from.const_data_ptr<float>();
  args.from_batch = from.stride(0);
  args.from_head = from.stride(1);
  args.from_token = from.stride(2);
  args.to = to.mutable_data_ptr<float>();
  args.to_batch = to.stride(0);
  args.to_head = to.stride(1);
  args.to_token = to.stride(2);
  ForRows(from.size(0) * args.tokens, args.heads * from.size(3), BestRowKernels().rope, args);
}

}  // namespace

bool HasRowKernels(const at::Tensor& tensor) {
  return tensor.is_cpu() && tensor.scalar_type() == at::kFloat;
}

RmsNormResult RmsNormRows(const at::Tensor& x, const at::Tensor& delta, const at::Tensor& weight,
                          double eps) {
  ATTNLAB_CHECK(HasRowKernels(x) && x.dim() == 2 && x.is_contiguous());
  ATTNLAB_CHECK(!delta.defined() || (delta.is_contiguous() && delta.sizes() == x.sizes()));
  RmsNormResult result{delta.defined() ? at::empty_like(x) : x, at::empty_like(x),
                       at::empty({x.size(0)}, x.options())};
  RmsNormForwardArgs args;
  args.width = x.size(1);
  args.eps = static_cast<float>(eps);
  args.x = x.const_data_ptr<float>();
  args.weight = weight.const_data_ptr<float>();
  if (delta.defined()) {
    args.delta = delta.const_data_ptr<float>();
    args.sum = result.sum.mutable_data_ptr<float>();
  }
  args.out = result.out.mutable_data_ptr<float>();
  args.scale = result.scale.mutable_data_ptr<float>();
  ForRows(x.size(0), args.width, BestRowKernels().rms_norm_forward, args);
  return result;
}

std::pair<at::Tensor, at::Tensor> RmsNormRowsBackward(const RmsNormResult& forward,
                                                      const at::Tensor& weight,
                                                      const at::Tensor& out_grad,
                                                      const at::Tensor& sum_grad) {
  const int64_t rows = forward.sum.size(0), width = forward.sum.size(1);
  at::Tensor x_grad = at::empty_like(forward.sum);
  RmsNormBackwardArgs args;
  args.width = width;
  args.sum = forward.sum.const_data_ptr<float>();
  args.weight = weight.const_data_ptr<float>();
  args.scale = forward.scale.const_data_ptr<float>();
  args.out_grad = out_grad.const_data_ptr<float>();
  if (sum_grad.defined()) args.sum_grad = sum_grad.const_data_ptr<float>();
  args.x_grad = x_grad.mutable_data_ptr<float>();
  // Blocks of rows of a fixed size, so that the sum over rows has one order for any number of
  // threads.
  const int64_t block = std::max(GrainRows(width), (rows + 63) / 64);
  const int64_t blocks = (rows + block - 1) / block;
  at::Tensor partial = at::zeros({blocks, width}, weight.options());
  float* partial_data = partial.mutable_data_ptr<float>();
  at::parallel_for(0, blocks, 1, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      RmsNormBackwardArgs of_block = args;
      of_block.weight_grad = partial_data + i * width;
      BestRowKernels().rms_norm_backward(of_block, i * block, std::min(rows, (i + 1) * block));
    }
  });
  return {x_grad, partial.sum(0)};
}

void Rotate(const at::Tensor& from, const at::Tensor& to, const at::Tensor& cos,
            const at::Tensor& sin, bool inverse) {
  if (HasRowKernels(from)) return RotateByKernel(from, to, cos, sin, inverse);
  const int64_t half = from.size(3) / 2;
  const at::Tensor low = from.narrow(3, 0, half), high = from.narrow(3, half, half);
  const double sign = inverse ? 1 : -1;
  to.narrow(3, 0, half).copy_(low.mul(cos).addcmul_(high, sin, sign));
  to.narrow(3, half, half).copy_(high.mul(cos).addcmul_(low, sin, -sign));
}

at::Tensor SwiGluRows(const at::Tensor& gate_up) {
  const int64_t rows = gate_up.size(0), width = gate_up.size(1) / 2;
  if (!HasRowKernels(gate_up)) {
    return at::silu(gate_up.narrow(1, 0, width)).mul_(gate_up.narrow(1, width, width));
  }
  at::Tensor out = at::empty({rows, width}, gate_up.options());
  SwiGluForwardArgs args;
  args.width = width;
  args.gate_up = gate_up.const_data_ptr<float>();
  args.out = out.mutable_data_ptr<float>();
  ForRows(rows, width, BestRowKernels().swiglu_forward, args);
  return out;
}

at::Tensor SwiGluRowsBackward(const at::Tensor& gate_up, const at::Tensor& out_grad) {
  const int64_t rows = gate_up.size(0), width = gate_up.size(1) / 2;
  at::Tensor grad = at::empty_like(gate_up);
  if (!HasRowKernels(gate_up)) {
    const at::Tensor gate = gate_up.narrow(1, 0, width), up = gate_up.narrow(1, width, width);
    at::Tensor gate_grad = grad.narrow(1, 0, width), up_grad = grad.narrow(1, width, width);
    at::silu_backward_out(gate_grad, out_grad.mul(up), gate);
    at::mul_out(up_grad, at::silu(gate), out_grad);
    return grad;
  }
  SwiGluBackwardArgs args;
  args.width = width;
  args.gate_up = gate_up.const_data_ptr<float>();
  args.out_grad = out_grad.const_data_ptr<float>();
  args.gate_up_grad = grad.mutable_data_ptr<float>();
  ForRows(rows, width, BestRowKernels().swiglu_backward, args);
  return grad;
}

std::pair<at::Tensor, at::Tensor> CrossEntropyRows(const at::Tensor& logits,
                                                   const at::Tensor& targets) {
  const int64_t rows = logits.size(0), width = logits.size(1);
  if (!HasRowKernels(logits)) {
    const at::Tensor column = targets.clamp_min(0).unsqueeze(1);
    const at::Tensor exact = logits.to(LossType(logits));
    const at::Tensor loss = at::log_softmax(exact, 1).gather(1, column).squeeze(1).neg_();
    const at::Tensor log_sum = exact.gather(1, column).squeeze(1).add_(loss);
    return {loss.masked_fill(targets.lt(0), 0), log_sum};
  }
  at::Tensor loss = at::empty({rows}, logits.options()), log_sum = at::empty_like(loss);
  CrossEntropyForwardArgs args;
  args.width = width;
  args.logits = logits.const_data_ptr<float>();
  args.targets = targets.const_data_ptr<int64_t>();
  args.loss = loss.mutable_data_ptr<float>();
  args.log_sum = log_sum.mutable_data_ptr<float>();
  ForRows(rows, width, BestRowKernels().cross_entropy_forward, args);
  return {loss, log_sum};
}

at::Tensor CrossEntropyRowsBackward(const at::Tensor& logits, const at::Tensor& targets,
                                    const at::Tensor& log_sum, const at::Tensor& loss_grad) {
  if (!HasRowKernels(logits)) {
    const at::Tensor column = targets.clamp_min(0).unsqueeze(1);
    at::Tensor grad = logits.to(LossType(logits)).sub(log_sum.unsqueeze(1)).exp_();
    grad.scatter_add_(1, column, at::ones_like(column, grad.options()).neg_());
    grad.mul_(loss_grad.masked_fill(targets.lt(0), 0).unsqueeze(1));
    return grad.to(logits.scalar_type());
  }
  at::Tensor grad = at::empty_like(logits);
  CrossEntropyBackwardArgs args;
  args.width = logits.size(1);
  args.logits = logits.const_data_ptr<float>();
  args.targets = targets.const_data_ptr<int64_t>();
  args.log_sum = log_sum.const_data_ptr<float>();
  args.loss_grad = loss_grad.const_data_ptr<float>();
  args.logits_grad = grad.mutable_data_ptr<float>();
  ForRows(logits.size(0), args.width, BestRowKernels().cross_entropy_backward, args);
  return grad;
}

}  // namespace attnlab
