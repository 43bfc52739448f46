#include "apps/bench/cpu_peer.h"

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu_backward.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/randn.h>

#include <algorithm>
#include <chrono>

#include "kernels/parallel.h"

namespace attnlab {
namespace {

at::Tensor Wrap(const std::vector<float>& x, int64_t batch, int64_t heads, int64_t rows,
                int64_t dim) {
  return at::from_blob(const_cast<float*>(x.data()), {batch, heads, rows, dim}, at::kFloat);
}

}  // namespace

void ShareThreads(int threads) {
  at::set_num_threads(threads);
  SetLaneCount(threads);
  SetLaneRunner([](int lanes, void (*task)(void*, int), void* context) {
    at::parallel_for(0, lanes, 1, [&](int64_t begin, int64_t end) {
      for (int64_t lane = begin; lane < end; ++lane) task(context, static_cast<int>(lane));
    });
  });
}

Peer MakePeer(const BenchProblem& problem) {
  const Shape& s = problem.forward.shape;
  const at::Tensor q = Wrap(problem.q, s.batch, s.heads, s.queries, s.head_dim);
  const at::Tensor k = Wrap(problem.k, s.batch, s.heads, s.keys, s.head_dim);
  const at::Tensor v = Wrap(problem.v, s.batch, s.heads, s.keys, s.value_dim);
  const at::Tensor out_grad = Wrap(problem.out_grad, s.batch, s.heads, s.queries, s.value_dim);
  const bool causal = problem.forward.mask.causal;
  const at::NoGradGuard no_grad;
  const auto [out, log_sum] = at::_scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, causal);
  return {[=] {
            const at::NoGradGuard no_grad;
            at::_scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, causal);
          },
          [=, out = out, log_sum = log_sum] {
            const at::NoGradGuard no_grad;
            at::_scaled_dot_product_flash_attention_for_cpu_backward(out_grad, q, k, v, out,
                                                                     log_sum, 0.0, causal);
          }};
}

double MeasurePeakRate() {
  constexpr int64_t kSize = 1536;
  const at::NoGradGuard no_grad;
  const at::Tensor a = at::randn({kSize, kSize}), b = at::randn({kSize, kSize});
  double best = 0;
  for (int run = 0; run < 8; ++run) {
    const auto start = std::chrono::steady_clock::now();
    a.mm(b);
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    best = std::max(best, 2.0 * kSize * kSize * kSize / elapsed.count());
  }
  return best;
}

}  // namespace attnlab
