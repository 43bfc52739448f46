#include "libs/attention/op.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include "libs/attention/blocked.h"
#include "libs/attention/kernel_path.h"
#include "libs/attention/reference.h"
#include "libs/attention/rows.h"
#include "libs/attention/visibility.h"

namespace attnlab {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// What the backward needs besides tensors.
struct Call : torch::CustomClassHolder {
  Call(AttentionOptions options, bool use_kernel)
      : options(std::move(options)), use_kernel(use_kernel) {}
  AttentionOptions options;
  bool use_kernel;
};

// Forward and backward of the kernels or of the blocked path. `learned` is the stack [L, H] of the
// head parameters, empty where the variant has none.
class AttentionFunction : public torch::autograd::Function<AttentionFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& q, const at::Tensor& k,
                            const at::Tensor& v, const at::Tensor& learned,
                            const c10::intrusive_ptr<Call>& call) {
    const BlockedOutput result =
        call->use_kernel
            ? KernelForward(q, k, v, call->options, learned.unbind(), /*keep_statistics=*/true)
            : BlockedForward(q, k, v, call->options, learned.unbind());
    context->save_for_backward(
        {q, k, v, learned, result.out, result.shift, result.denominator, result.live_tiles});
    context->saved_data["call"] = at::IValue::make_capsule(call);
    return result.out.to(q.scalar_type());
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &q = saved[0], &k = saved[1], &v = saved[2], &learned = saved[3];
    const BlockedOutput forward = {saved[4], saved[5], saved[6], saved[7]};
    const auto capsule = context->saved_data["call"].toCapsule();
    const Call& call = static_cast<const Call&>(*capsule);
    const auto backward = call.use_kernel ? KernelBackward : BlockedBackward;
    const AttentionGradients result =
        backward(grads[0], q, k, v, forward, call.options, learned.unbind());
    const at::Tensor learned_grad =
        result.learned.empty() ? at::Tensor() : at::stack(result.learned).to(learned.scalar_type());
    return {result.q, result.k, result.v, learned_grad, at::Tensor()};
  }
};

bool NeedsGradient(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                   const std::vector<at::Tensor>& head_parameters) {
  bool needs = q.requires_grad() || k.requires_grad() || v.requires_grad();
  for (const at::Tensor& parameter : head_parameters) needs = needs || parameter.requires_grad();
  return needs && c10::GradMode::is_enabled();
}

// LibTorch's own attention. Its causal mask puts the first query on the first key, ours the last on
// the last: where the two differ, and for windows, the mask is written out.
at::Tensor PeerAttention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                         const AttentionOptions& options) {
  TORCH_CHECK(options.weighting == "softmax",
              "attention implementation sdpa computes softmax only, not ", options.weighting);
  const bool grouped = q.size(1) != k.size(1);
  const double scale = ScaleOf(options, q.size(3));
  const bool plain = options.window == 0 && q.size(2) == k.size(2);
  if (plain || !options.causal) {
    return at::scaled_dot_product_attention(q, k, v, {}, 0.0, options.causal, scale, grouped);
  }
  const at::Tensor seen = HiddenKeys(options, q.size(2), k.size(2), 0, q.size(2), q).logical_not();
  return at::scaled_dot_product_attention(q, k, v, seen, 0.0, false, scale, grouped);
}

}  // namespace

at::Tensor Attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     const AttentionOptions& options,
                     const std::vector<at::Tensor>& head_parameters) {
  TORCH_CHECK(q.dim() == 4 && k.dim() == 4 && v.dim() == 4 && q.size(0) == k.size(0) &&
                  q.size(3) == k.size(3) && k.size(1) == v.size(1) && k.size(2) == v.size(2) &&
                  q.size(1) % k.size(1) == 0 && (!options.causal || q.size(2) <= k.size(2)),
              "attention of q ", q.sizes(), ", k ", k.sizes(), ", v ", v.sizes(),
              ": want [B, H, T, D], [B, Hkv, S, D], [B, Hkv, S, Dv], H a multiple of Hkv, T <= S "
              "when causal");
  const std::string& implementation = options.implementation;
  if (implementation == "reference") return AttentionReference(q, k, v, options, head_parameters);
  if (implementation == "sdpa") return PeerAttention(q, k, v, options);

  const bool use_kernel =
      implementation == "kernel" || (implementation == "auto" && HasKernel(q, k, v, options));
  if (NeedsGradient(q, k, v, head_parameters)) {
    const at::Tensor learned = head_parameters.empty() ? at::zeros({0, q.size(1)}, q.options())
                                                       : at::stack(head_parameters);
    return AttentionFunction::apply(q, k, v, learned,
                                    c10::make_intrusive<Call>(options, use_kernel));
  }
  return use_kernel
             ? KernelForward(q, k, v, options, head_parameters, /*keep_statistics=*/false).out
             : BlockedForward(q, k, v, options, head_parameters).out.to(q.scalar_type());
}

}  // namespace attnlab
