#include "libs/attention/kernel_path.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <string_view>

#include "kernels/dispatch.h"
#include "kernels/weighting_info.h"
#include "libs/attention/rows.h"
#include "libs/core/check.h"

namespace attnlab {
namespace {

// `t` as the kernels read it, mostly `t` itself: elements of a row side by side, and on a CUDA
// device rows that begin on 16 bytes.
at::Tensor Dense(const at::Tensor& t) {
  bool fits = t.stride(-1) == 1;
  if (t.is_cuda() && fits) {
    const int64_t unit = 16 / t.element_size();
    fits = reinterpret_cast<uintptr_t>(t.const_data_ptr()) % 16 == 0;
    for (int64_t d = 0; d < 3; ++d) fits = fits && (t.size(d) == 1 || t.stride(d) % unit == 0);
  }
  return fits ? t : t.clone(at::MemoryFormat::Contiguous);
}

DType TypeOf(const at::Tensor& t) {
  if (t.scalar_type() == at::kFloat) return DType::kFloat32;
  return t.scalar_type() == at::kHalf ? DType::kFloat16 : DType::kBFloat16;
}

bool HasType(const at::Tensor& t) {
  return t.scalar_type() == at::kFloat || t.scalar_type() == at::kBFloat16 ||
         (t.is_cuda() && t.scalar_type() == at::kHalf);
}

// The stream on which LibTorch launches now, as the driver knows it.
void* StreamOf(const at::Tensor& t) {
  const c10::impl::VirtualGuardImpl guard(t.device().type());
  return guard.getStream(t.device()).native_handle();
}

// [batch, heads, rows, dim] laid out as [batch, rows, heads, dim], which the next projection reads
// without a copy.
at::Tensor EmptyRowsFirst(const at::Tensor& like, int64_t dim) {
  return at::empty({like.size(0), like.size(2), like.size(1), dim}, like.options()).transpose(1, 2);
}

// The operands of a call in the layout of the kernels, and the problem that points at them.
struct Call {
  at::Tensor q, k, v;
  std::vector<at::Tensor> learned;

  // `wide`: on a CPU computed in float32, the output too. A gradient of what heads learn sums whole
  // rows, whose rounded outputs would not cancel.
  Call(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
       const std::vector<at::Tensor>& head_parameters, bool wide = false)
      : q(Dense(wide && q.is_cpu() ? q.to(at::kFloat) : q)),
        k(Dense(wide && q.is_cpu() ? k.to(at::kFloat) : k)),
        v(Dense(wide && q.is_cpu() ? v.to(at::kFloat) : v)) {
    TORCH_CHECK((q.is_cpu() || q.is_cuda()) && HasType(q), "no attention kernel for ",
                q.scalar_type(), " tensors on ", q.device(),
                "; use implementation auto or blocked");
    for (const at::Tensor& t : head_parameters) learned.push_back(t.to(at::kFloat).contiguous());
  }

  void Describe(const AttentionOptions& options, Problem& problem) const {
    problem = ProblemOf(q, k, v, options, learned);
  }
};

void CheckRan(const char* error) { TORCH_CHECK(error == nullptr, "attention kernel: ", error); }

// What `args` need, for as long as the tensor lives.
template <class Args>
at::Tensor Workspace(Args& args, const at::Tensor& like) {
  const int64_t bytes = WorkspaceBytes(args);
  if (bytes == 0) return {};
  const at::Tensor workspace = at::empty({bytes}, like.options().dtype(at::kByte));
  args.workspace = workspace.mutable_data_ptr();
  return workspace;
}

bool LeavesLiveTiles(const Problem& problem) {
  return problem.device != kCpu && problem.skip_zero_tiles &&
         Weightings()[problem.weighting].traits.exact_zeros;
}

}  // namespace

Operand OperandOf(const at::Tensor& t) {
  return {t.const_data_ptr(), t.stride(0), t.stride(1), t.stride(2)};
}
Result ResultOf(const at::Tensor& t) {
  return {t.mutable_data_ptr(), t.stride(0), t.stride(1), t.stride(2)};
}

Problem ProblemOf(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                  const AttentionOptions& options, const std::vector<at::Tensor>& learned) {
  const auto index = FindWeighting(options.weighting);
  ATTNLAB_CHECK(index.has_value(), options.weighting);
  Problem problem;
  problem.weighting = *index;
  SetDefaultConstants(problem);
  const WeightingInfo& info = Weightings()[*index];
  for (size_t i = 0; i < info.constants.size(); ++i) {
    const auto found = options.constants.find(info.constants[i].name);
    if (found != options.constants.end()) problem.constants[i] = static_cast<float>(found->second);
  }
  ATTNLAB_CHECK(learned.size() == info.learned.size(), "head parameters of " + options.weighting);
  for (size_t i = 0; i < learned.size(); ++i)
    problem.learned[i] = learned[i].const_data_ptr<float>();
  problem.shape = {q.size(0), q.size(1), k.size(1), q.size(2), k.size(2), q.size(3), v.size(3)};
  problem.mask.causal = options.causal;
  problem.mask.query_offset = options.causal ? k.size(2) - q.size(2) : 0;
  problem.mask.window = options.window;
  problem.mask.first_kept = options.first_kept;
  problem.scale = static_cast<float>(ScaleOf(options, q.size(3)));
  problem.dtype = TypeOf(q);
  if (q.is_cuda()) {
    problem.device = q.device().index();
    problem.stream = StreamOf(q);
  }
  problem.skip_zero_tiles =
      options.skip_zero_tiles == "auto" ? info.traits.massless : options.skip_zero_tiles == "on";
  problem.q = OperandOf(q);
  problem.k = OperandOf(k);
  problem.v = OperandOf(v);
  return problem;
}

bool HasKernel(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
               const AttentionOptions& options) {
  if (!HasType(q)) return false;
  if (q.is_cpu()) return true;
  if (!q.is_cuda() || q.scalar_type() == at::kFloat) return false;
  const auto index = FindWeighting(options.weighting);
  Problem problem;
  problem.weighting = index.value_or(0);
  problem.shape = {q.size(0), q.size(1), k.size(1), q.size(2), k.size(2), q.size(3), v.size(3)};
  problem.scale = static_cast<float>(ScaleOf(options, q.size(3)));
  problem.dtype = TypeOf(q);
  problem.device = q.device().index();
  const std::string_view name = KernelName(problem);
  return name == "hopper" || name == "mma";
}

BlockedOutput KernelForward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const AttentionOptions& options,
                            const std::vector<at::Tensor>& head_parameters, bool keep_statistics) {
  const Call call(q, k, v, head_parameters, keep_statistics && !head_parameters.empty());
  ForwardArgs args;
  call.Describe(options, args);
  BlockedOutput result;
  result.out = EmptyRowsFirst(call.q, v.size(3));
  args.out = ResultOf(result.out);
  if (keep_statistics) {
    const auto statistics = q.options().dtype(at::kFloat);
    result.shift = at::empty({q.size(0), q.size(1), q.size(2)}, statistics);
    result.denominator = at::empty_like(result.shift);
    args.shift = result.shift.mutable_data_ptr<float>();
    args.denominator = result.denominator.mutable_data_ptr<float>();
    if (LeavesLiveTiles(args)) {
      result.live_tiles =
          at::empty({LiveRows(args.shape), LiveWords(args.shape)}, q.options().dtype(at::kInt));
      args.live_tiles = static_cast<uint32_t*>(result.live_tiles.mutable_data_ptr());
    }
  }
  const at::Tensor workspace = Workspace(args, q);
  CheckRan(Forward(args));
  return result;
}

AttentionGradients KernelBackward(const at::Tensor& out_grad, const at::Tensor& q,
                                  const at::Tensor& k, const at::Tensor& v,
                                  const BlockedOutput& forward, const AttentionOptions& options,
                                  const std::vector<at::Tensor>& head_parameters) {
  const Call call(q, k, v, head_parameters, !head_parameters.empty());
  const at::Tensor grad = Dense(out_grad.to(call.q.scalar_type()));
  BackwardArgs args;
  call.Describe(options, args);
  args.out = OperandOf(forward.out);
  args.out_grad = OperandOf(grad);
  args.shift = forward.shift.const_data_ptr<float>();
  args.denominator = forward.denominator.const_data_ptr<float>();
  AttentionGradients result = {EmptyRowsFirst(call.q, q.size(3)),
                               EmptyRowsFirst(call.k, k.size(3)),
                               EmptyRowsFirst(call.v, v.size(3)),
                               {}};
  args.q_grad = ResultOf(result.q);
  args.k_grad = ResultOf(result.k);
  args.v_grad = ResultOf(result.v);
  for (size_t i = 0; i < call.learned.size(); ++i) {
    result.learned.push_back(at::zeros_like(call.learned[i]));
    args.learned_grad[i] = result.learned[i].mutable_data_ptr<float>();
  }
  if (forward.live_tiles.defined()) {
    args.live_tiles = static_cast<const uint32_t*>(forward.live_tiles.const_data_ptr());
  }
  const at::Tensor workspace = Workspace(args, q);
  CheckRan(Backward(args));
  for (at::Tensor* operand : {&result.q, &result.k, &result.v}) {
    *operand = operand->to(q.scalar_type());
  }
  return result;
}

AttentionOptions ForDecode(AttentionOptions options) {
  const auto index = FindWeighting(options.weighting);
  const bool zeros = index.has_value() && Weightings()[*index].traits.exact_zeros;
  if (options.skip_zero_tiles == "auto") options.skip_zero_tiles = zeros ? "on" : "off";
  return options;
}

at::Tensor KernelDecode(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                        const AttentionOptions& options,
                        const std::vector<at::Tensor>& head_parameters) {
  const Call call(q, k, v, head_parameters);
  ForwardArgs args;
  call.Describe(ForDecode(options), args);
  const at::Tensor out = EmptyRowsFirst(q, v.size(3));
  args.out = ResultOf(out);
  const at::Tensor workspace = Workspace(args, q);
  CheckRan(Decode(args));
  return out;
}

}  // namespace attnlab
