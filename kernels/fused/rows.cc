// The row kernels for the instruction set that this file is compiled for (rows.h); CMake compiles
// it once for each.

#include "kernels/fused/rows.h"

#include <cmath>

#include "kernels/cpu/vec.h"

namespace attnlab::ATTNLAB_ISA {
namespace {

// The last vector of a row may be partial: `count` numbers of `p`, then `fill`.
ATTNLAB_HD Vec LoadFirst(const float* p, int64_t count, float fill = 0.0f) {
  if (count >= kWidth) [[likely]]
    return Load(p);
  Vec v(fill);
  for (int64_t i = 0; i < count; ++i) v.f[i] = p[i];
  return v;
}

ATTNLAB_HD void StoreFirst(float* p, Vec v, int64_t count) {
  if (count >= kWidth) [[likely]] {
    Store(p, v);
    return;
  }
  for (int64_t i = 0; i < count; ++i) p[i] = v.f[i];
}

void RmsNormForward(const RmsNormForwardArgs& a, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const float* x = a.x + row * a.width;
    const float* sum = x;
    Vec squares(0.0f);
    if (a.delta != nullptr) {
      const float* delta = a.delta + row * a.width;
      float* to = a.sum + row * a.width;
      for (int64_t i = 0; i < a.width; i += kWidth) {
        const Vec s = LoadFirst(x + i, a.width - i) + LoadFirst(delta + i, a.width - i);
        StoreFirst(to + i, s, a.width - i);
        squares = squares + s * s;
      }
      sum = to;
    } else {
      for (int64_t i = 0; i < a.width; i += kWidth) {
        const Vec s = LoadFirst(x + i, a.width - i);
        squares = squares + s * s;
      }
    }
    const float scale = 1.0f / std::sqrt(SumOf(squares) / static_cast<float>(a.width) + a.eps);
    a.scale[row] = scale;
    float* out = a.out + row * a.width;
    for (int64_t i = 0; i < a.width; i += kWidth) {
      const int64_t count = a.width - i;
      StoreFirst(out + i, LoadFirst(a.weight + i, count) * LoadFirst(sum + i, count) * Vec(scale),
                 count);
    }
  }
}

void RmsNormBackward(const RmsNormBackwardArgs& a, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const float* sum = a.sum + row * a.width;
    const float* out_grad = a.out_grad + row * a.width;
    const float* sum_grad = a.sum_grad == nullptr ? nullptr : a.sum_grad + row * a.width;
    float* x_grad = a.x_grad + row * a.width;
    const Vec scale(a.scale[row]);
    Vec products(0.0f);
    for (int64_t i = 0; i < a.width; i += kWidth) {
      const int64_t count = a.width - i;
      const Vec gy = LoadFirst(out_grad + i, count) * LoadFirst(sum + i, count) * scale;
      products = products + LoadFirst(a.weight + i, count) * gy;
      StoreFirst(a.weight_grad + i, LoadFirst(a.weight_grad + i, count) + gy, count);
    }
    const Vec mean(SumOf(products) / static_cast<float>(a.width));
    for (int64_t i = 0; i < a.width; i += kWidth) {
      const int64_t count = a.width - i;
      const Vec y = LoadFirst(sum + i, count) * scale;
      const Vec g = LoadFirst(a.weight + i, count) * LoadFirst(out_grad + i, count);
      Vec grad = scale * (g - y * mean);
      if (sum_grad != nullptr) grad = grad + LoadFirst(sum_grad + i, count);
      StoreFirst(x_grad + i, grad, count);
    }
  }
}

void Rope(const RopeArgs& a, int64_t begin, int64_t end) {
  const Vec sign(a.inverse ? -1.0f : 1.0f);
  for (int64_t row = begin; row < end; ++row) {
    const int64_t batch = row / a.tokens, token = row % a.tokens;
    const float* cos = a.cos + token * a.half;
    const float* sin = a.sin + token * a.half;
    for (int64_t head = 0; head < a.heads; ++head) {
      const float* from = a.from + batch * a.from_batch + head * a.from_head + token * a.from_token;
      float* to = a.to + batch * a.to_batch + head * a.to_head + token * a.to_token;
      for (int64_t i = 0; i < a.half; i += kWidth) {
        const int64_t count = a.half - i;
        const Vec c = LoadFirst(cos + i, count), s = LoadFirst(sin + i, count) * sign;
        const Vec low = LoadFirst(from + i, count), high = LoadFirst(from + a.half + i, count);
        StoreFirst(to + i, low * c - high * s, count);
        StoreFirst(to + a.half + i, high * c + low * s, count);
      }
    }
  }
}

void SwiGluForward(const SwiGluForwardArgs& a, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const float* gate = a.gate_up + row * 2 * a.width;
    const float* up = gate + a.width;
    float* out = a.out + row * a.width;
    for (int64_t i = 0; i < a.width; i += kWidth) {
      const int64_t count = a.width - i;
      const Vec g = LoadFirst(gate + i, count);
      StoreFirst(out + i, g * Sigmoid(g) * LoadFirst(up + i, count), count);
    }
  }
}

void SwiGluBackward(const SwiGluBackwardArgs& a, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const float* gate = a.gate_up + row * 2 * a.width;
    const float* up = gate + a.width;
    const float* out_grad = a.out_grad + row * a.width;
    float* gate_grad = a.gate_up_grad + row * 2 * a.width;
    float* up_grad = gate_grad + a.width;
    for (int64_t i = 0; i < a.width; i += kWidth) {
      const int64_t count = a.width - i;
      const Vec g = LoadFirst(gate + i, count), grad = LoadFirst(out_grad + i, count);
      const Vec s = Sigmoid(g);
      const Vec silu = g * s;
      StoreFirst(up_grad + i, grad * silu, count);
      // silu' = s (1 + g (1 - s)) = s + silu - silu s
      StoreFirst(gate_grad + i, grad * LoadFirst(up + i, count) * (s + silu - silu * s), count);
    }
  }
}

void CrossEntropyForward(const CrossEntropyForwardArgs& a, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const float* logits = a.logits + row * a.width;
    Vec best(logits[0]);
    for (int64_t i = 0; i < a.width; i += kWidth) {
      best = Max(best, LoadFirst(logits + i, a.width - i, logits[0]));
    }
    const float shift = MaxOf(best);
    // Exp and Max drop NaN; 0 * x keeps it in the sum.
    Vec sum(0.0f);
    for (int64_t i = 0; i < a.width; i += kWidth) {
      const int64_t count = a.width - i;
      const Vec x = LoadFirst(logits + i, count, -INFINITY);
      sum = sum + Exp(x - Vec(shift)) + LoadFirst(logits + i, count) * Vec(0.0f);
    }
    const float log_sum = shift + std::log(SumOf(sum));
    a.log_sum[row] = log_sum;
    a.loss[row] = a.targets[row] < 0 ? 0.0f : log_sum - logits[a.targets[row]];
  }
}

void CrossEntropyBackward(const CrossEntropyBackwardArgs& a, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const float* logits = a.logits + row * a.width;
    float* grad = a.logits_grad + row * a.width;
    const int64_t target = a.targets[row];
    const float factor = target < 0 ? 0.0f : a.loss_grad[row];
    const Vec log_sum(a.log_sum[row]);
    for (int64_t i = 0; i < a.width; i += kWidth) {
      const int64_t count = a.width - i;
      StoreFirst(grad + i, Exp(LoadFirst(logits + i, count) - log_sum) * Vec(factor), count);
    }
    if (target >= 0) grad[target] -= factor;
  }
}

}  // namespace

#define ATTNLAB_STRING_INNER(x) #x
#define ATTNLAB_STRING(x) ATTNLAB_STRING_INNER(x)

extern const RowKernels kRowKernels;
const RowKernels kRowKernels = {ATTNLAB_STRING(ATTNLAB_ISA),
                                RmsNormForward,
                                RmsNormBackward,
                                Rope,
                                SwiGluForward,
                                SwiGluBackward,
                                CrossEntropyForward,
                                CrossEntropyBackward};

}  // namespace attnlab::ATTNLAB_ISA
