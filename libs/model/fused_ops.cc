// Gradients of the decoder's pieces by hand: what each keeps, and its backward in one step.

#include "libs/model/fused_ops.h"

#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/add.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/rms_norm.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "libs/core/check.h"
#include "libs/model/row_ops.h"

namespace attnlab {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using Tensors = torch::autograd::variable_list;

at::Tensor Rows(const at::Tensor& x) {  // [..., D] -> [N, D], contiguous
  return x.reshape({-1, x.size(-1)}).contiguous();
}

std::vector<int64_t> WithLast(at::IntArrayRef sizes, int64_t last) {
  std::vector<int64_t> shape(sizes.begin(), sizes.end());
  shape.back() = last;
  return shape;
}

struct RmsNormFunction : Function<RmsNormFunction> {
  static Tensors forward(AutogradContext* ctx, const at::Tensor& x,
                         const std::optional<at::Tensor>& delta, const at::Tensor& weight,
                         double eps) {
    at::AutoDispatchBelowADInplaceOrView guard;
    const RmsNormResult result =
        RmsNormRows(Rows(x), delta.has_value() ? Rows(*delta) : at::Tensor(), weight, eps);
    ctx->save_for_backward({result.sum, weight, result.scale});
    ctx->saved_data["has_delta"] = delta.has_value();
    ctx->set_materialize_grads(false);
    return {result.sum.view(x.sizes()), result.out.view(x.sizes())};
  }

  static Tensors backward(AutogradContext* ctx, const Tensors& grads) {
    const bool has_delta = ctx->saved_data["has_delta"].toBool();
    const Tensors saved = ctx->get_saved_variables();
    const at::Tensor sum_grad = grads[0].defined() ? Rows(grads[0]) : at::Tensor();
    if (!grads[1].defined()) {
      return {grads[0], has_delta ? grads[0] : at::Tensor(), at::Tensor(), at::Tensor()};
    }
    auto [x_grad, weight_grad] =
        RmsNormRowsBackward({saved[0], at::Tensor(), saved[2]}, saved[1], Rows(grads[1]), sum_grad);
    x_grad = x_grad.view(grads[1].sizes());
    return {x_grad, has_delta ? x_grad : at::Tensor(), weight_grad, at::Tensor()};
  }
};

// The weights as one [sum of out, in] in `dtype`: a view when they lie one behind the other.
at::Tensor Packed(at::TensorList weights, at::ScalarType dtype) {
  int64_t rows = 0;
  bool adjacent = true;
  for (size_t i = 0; i < weights.size(); ++i) {
    const at::Tensor& weight = weights[i];
    adjacent = adjacent && weight.is_contiguous() && weight.is_alias_of(weights[0]) &&
               weight.storage_offset() == weights[0].storage_offset() + rows * weight.size(1);
    rows += weight.size(0);
  }
  const int64_t width = weights[0].size(1);
  const at::Tensor packed =
      adjacent ? weights[0].as_strided({rows, width}, {width, 1}) : at::cat(weights.vec());
  return packed.to(dtype);
}

struct PackedLinearFunction : Function<PackedLinearFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, at::TensorList weights) {
    at::AutoDispatchBelowADInplaceOrView guard;
    Tensors saved = {Rows(x)};
    saved.insert(saved.end(), weights.begin(), weights.end());
    const at::Tensor out = at::mm(saved[0], Packed(weights, x.scalar_type()).t());
    ctx->save_for_backward(std::move(saved));
    return out.view(WithLast(x.sizes(), out.size(1)));
  }

  static Tensors backward(AutogradContext* ctx, const Tensors& grads) {
    const Tensors saved = ctx->get_saved_variables();
    const at::TensorList weights(saved.data() + 1, saved.size() - 1);
    const at::Tensor grad = Rows(grads[0]);
    Tensors results;
    results.push_back(ctx->needs_input_grad(0)
                          ? at::mm(grad, Packed(weights, grad.scalar_type()))
                                .view(WithLast(grads[0].sizes(), saved[0].size(1)))
                          : at::Tensor());
    const at::Tensor weight_grad = at::mm(grad.t(), saved[0]).to(weights[0].scalar_type());
    int64_t row = 0;
    for (const at::Tensor& weight : weights) {
      results.push_back(weight_grad.narrow(0, row, weight.size(0)));
      row += weight.size(0);
    }
    return results;
  }
};

struct SplitRotateFunction : Function<SplitRotateFunction> {
  static Tensors forward(AutogradContext* ctx, const at::Tensor& qkv, int64_t heads,
                         int64_t kv_heads, const at::Tensor& cos, const at::Tensor& sin) {
    at::AutoDispatchBelowADInplaceOrView guard;
    const int64_t batch = qkv.size(0), tokens = qkv.size(1), dim = 2 * cos.size(1);
    ATTNLAB_CHECK(qkv.size(2) == (heads + 2 * kv_heads) * dim);
    const at::Tensor split = qkv.view({batch, tokens, heads + 2 * kv_heads, dim}).transpose(1, 2);
    const at::Tensor rotated = at::empty({batch, heads + kv_heads, tokens, dim}, qkv.options());
    Rotate(split.narrow(1, 0, heads + kv_heads), rotated, cos, sin, false);
    ctx->save_for_backward({cos, sin});
    return {rotated.narrow(1, 0, heads), rotated.narrow(1, heads, kv_heads),
            split.narrow(1, heads + kv_heads, kv_heads)};
  }

  static Tensors backward(AutogradContext* ctx, const Tensors& grads) {
    const Tensors saved = ctx->get_saved_variables();
    const int64_t batch = grads[0].size(0), heads = grads[0].size(1), tokens = grads[0].size(2),
                  dim = grads[0].size(3), kv_heads = grads[1].size(1);
    const at::Tensor grad =
        at::empty({batch, tokens, (heads + 2 * kv_heads) * dim}, grads[0].options());
    const at::Tensor split = grad.view({batch, tokens, heads + 2 * kv_heads, dim}).transpose(1, 2);
    Rotate(LastContiguous(grads[0]), split.narrow(1, 0, heads), saved[0], saved[1], true);
    Rotate(LastContiguous(grads[1]), split.narrow(1, heads, kv_heads), saved[0], saved[1], true);
    split.narrow(1, heads + kv_heads, kv_heads).copy_(grads[2]);
    return {grad, at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
  }

  static at::Tensor LastContiguous(const at::Tensor& x) {
    return x.stride(3) == 1 ? x : x.contiguous();
  }
};

struct SwiGluFunction : Function<SwiGluFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& gate_up) {
    at::AutoDispatchBelowADInplaceOrView guard;
    ctx->save_for_backward({gate_up});
    return SwiGluRows(Rows(gate_up)).view(WithLast(gate_up.sizes(), gate_up.size(-1) / 2));
  }

  static Tensors backward(AutogradContext* ctx, const Tensors& grads) {
    const at::Tensor gate_up = ctx->get_saved_variables()[0];
    return {SwiGluRowsBackward(Rows(gate_up), Rows(grads[0])).view(gate_up.sizes())};
  }
};

struct LinearCrossEntropyFunction : Function<LinearCrossEntropyFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& hidden,
                            const at::Tensor& weight, const at::Tensor& targets,
                            int64_t chunk_rows) {
    at::AutoDispatchBelowADInplaceOrView guard;
    const int64_t rows = hidden.size(0);
    const at::Tensor cast = weight.to(hidden.scalar_type());
    Tensors losses, log_sums;
    at::Tensor logits;
    for (int64_t begin = 0; begin < rows; begin += chunk_rows) {
      const int64_t count = std::min(chunk_rows, rows - begin);
      logits = at::mm(hidden.narrow(0, begin, count), cast.t());
      auto [loss, log_sum] = CrossEntropyRows(logits, targets.narrow(0, begin, count));
      losses.push_back(loss);
      log_sums.push_back(log_sum);
    }
    const bool whole = rows <= chunk_rows;
    ctx->save_for_backward({hidden, weight, targets, whole ? log_sums[0] : at::cat(log_sums),
                            whole ? logits : at::Tensor()});
    ctx->saved_data["chunk_rows"] = chunk_rows;
    return whole ? losses[0] : at::cat(losses);
  }

  static Tensors backward(AutogradContext* ctx, const Tensors& grads) {
    const Tensors saved = ctx->get_saved_variables();
    const at::Tensor &hidden = saved[0], &weight = saved[1];
    const int64_t rows = hidden.size(0), chunk_rows = ctx->saved_data["chunk_rows"].toInt();
    const at::Tensor cast = weight.to(hidden.scalar_type());
    const at::Tensor loss_grad = grads[0].contiguous();
    const at::Tensor hidden_grad = at::empty_like(hidden);
    at::Tensor weight_grad;
    for (int64_t begin = 0; begin < rows; begin += chunk_rows) {
      const int64_t count = std::min(chunk_rows, rows - begin);
      const at::Tensor part = hidden.narrow(0, begin, count);
      const at::Tensor logits = saved[4].defined() ? saved[4] : at::mm(part, cast.t());
      const at::Tensor grad = CrossEntropyRowsBackward(logits, saved[2].narrow(0, begin, count),
                                                       saved[3].narrow(0, begin, count),
                                                       loss_grad.narrow(0, begin, count));
      at::Tensor hidden_part = hidden_grad.narrow(0, begin, count);
      at::mm_out(hidden_part, grad, cast);
      const at::Tensor product = at::mm(grad.t(), part);
      if (weight_grad.defined()) {
        weight_grad.add_(product);
      } else {
        weight_grad = product.to(weight.scalar_type());
      }
    }
    return {hidden_grad, weight_grad, at::Tensor(), at::Tensor()};
  }
};

}  // namespace

std::pair<at::Tensor, at::Tensor> AddRmsNorm(const at::Tensor& x, const at::Tensor& delta,
                                             const at::Tensor& weight, double eps,
                                             at::ScalarType dtype) {
  if (HasRowKernels(x) && (!delta.defined() || HasRowKernels(delta))) {
    const Tensors results = RmsNormFunction::apply(
        x, delta.defined() ? std::optional<at::Tensor>(delta) : std::nullopt, weight, eps);
    return {results[0], results[1].to(dtype)};
  }
  const at::Tensor sum = delta.defined() ? at::add(x, delta) : x;
  return {sum, at::rms_norm(sum, {sum.size(-1)}, weight, eps).to(dtype)};
}

at::Tensor PackedLinear(const at::Tensor& x, const std::vector<at::Tensor>& weights) {
  return PackedLinearFunction::apply(x, at::TensorList(weights));
}

QueryKeyValue SplitRotate(const at::Tensor& qkv, int64_t heads, int64_t kv_heads,
                          const at::Tensor& cos, const at::Tensor& sin) {
  const Tensors parts = SplitRotateFunction::apply(qkv, heads, kv_heads, cos, sin);
  return {parts[0], parts[1], parts[2]};
}

at::Tensor SwiGlu(const at::Tensor& gate_up) { return SwiGluFunction::apply(gate_up); }

at::Tensor LinearCrossEntropy(const at::Tensor& hidden, const at::Tensor& weight,
                              const at::Tensor& targets, int64_t chunk) {
  if (chunk == 0) chunk = hidden.is_cpu() ? int64_t{1} << 22 : int64_t{1} << 27;
  const int64_t rows = std::max<int64_t>(1, chunk / weight.size(0));
  return LinearCrossEntropyFunction::apply(hidden, weight, targets.contiguous(), rows);
}

}  // namespace attnlab
