// The hot loops of a decoder beside attention and matrix products, for float32 on the CPU: RMSNorm
// with the residual sum, rotary embedding, SwiGLU, cross-entropy of logits; forward and backward.
//
// Every kernel works on rows [begin, end) of its tensors and touches no other row, so the caller
// spreads rows over the threads that it has. Compiled once per instruction set; the machine's best
// is picked at the first call. The bits of a row do not depend on how rows are spread.
#pragma once

#include <cstdint>

namespace attnlab {

//     sum = x + delta        out = weight * sum * scale        scale = 1 / sqrt(mean(sum^2) + eps)
//
// Zhang, Sennrich 2019, with the residual sum before it.
struct RmsNormForwardArgs {
  int64_t width = 0;
  float eps = 0;
  const float* x = nullptr;       // [rows, width]
  const float* delta = nullptr;   // [rows, width]; null = 0
  const float* weight = nullptr;  // [width]
  float* sum = nullptr;           // [rows, width]; may be null when delta is
  float* out = nullptr;           // [rows, width]
  float* scale = nullptr;         // [rows]
};

// With y = sum * scale and g = weight * out_grad:
//     x_grad = sum_grad + scale (g - y mean(g y))        weight_grad += out_grad * y over the rows
struct RmsNormBackwardArgs {
  int64_t width = 0;
  const float* sum = nullptr;       // [rows, width]
  const float* weight = nullptr;    // [width]
  const float* scale = nullptr;     // [rows]
  const float* out_grad = nullptr;  // [rows, width]
  const float* sum_grad = nullptr;  // [rows, width]; null = 0
  float* x_grad = nullptr;          // [rows, width]
  float* weight_grad = nullptr;     // [width]; the caller's own for these rows
};

// Rotates the halves of every head of row (b, t) by the angles of position t (Su et al. 2021):
//     to[i] = from[i] cos_ti - from[i + half] sin_ti        to[i + half] = from[i + half] cos_ti +
//     from[i] sin_ti
// `inverse` turns the other way, which is the backward. Strides in elements, the last one is 1.
struct RopeArgs {
  int64_t tokens = 0;  // rows are b * tokens + t
  int64_t heads = 0;
  int64_t half = 0;            // head dim / 2
  const float* cos = nullptr;  // [tokens, half]
  const float* sin = nullptr;  // [tokens, half]
  bool inverse = false;
  const float* from = nullptr;
  int64_t from_batch = 0, from_head = 0, from_token = 0;  // strides
  float* to = nullptr;
  int64_t to_batch = 0, to_head = 0, to_token = 0;  // strides
};

// out = silu(gate) * up (Shazeer 2020). A row of gate_up is its gate, then its up.
struct SwiGluForwardArgs {
  int64_t width = 0;
  const float* gate_up = nullptr;  // [rows, 2 * width]
  float* out = nullptr;            // [rows, width]
};

struct SwiGluBackwardArgs {
  int64_t width = 0;
  const float* gate_up = nullptr;   // [rows, 2 * width]
  const float* out_grad = nullptr;  // [rows, width]
  float* gate_up_grad = nullptr;    // [rows, 2 * width]
};

// loss = log sum_v e^logit_v - logit_target. A target below 0 gives loss 0; targets are below
// `width`.
struct CrossEntropyForwardArgs {
  int64_t width = 0;
  const float* logits = nullptr;     // [rows, width]
  const int64_t* targets = nullptr;  // [rows]
  float* loss = nullptr;             // [rows]
  float* log_sum = nullptr;          // [rows]
};

// logits_grad = loss_grad (e^(logit - log_sum) - [v = target]); may be the logits themselves.
struct CrossEntropyBackwardArgs {
  int64_t width = 0;
  const float* logits = nullptr;     // [rows, width]
  const int64_t* targets = nullptr;  // [rows]
  const float* log_sum = nullptr;    // [rows]
  const float* loss_grad = nullptr;  // [rows]
  float* logits_grad = nullptr;      // [rows, width]
};

// One set of kernels, all for the same instruction set.
struct RowKernels {
  const char* instruction_set;
  void (*rms_norm_forward)(const RmsNormForwardArgs&, int64_t begin, int64_t end);
  void (*rms_norm_backward)(const RmsNormBackwardArgs&, int64_t begin, int64_t end);
  void (*rope)(const RopeArgs&, int64_t begin, int64_t end);
  void (*swiglu_forward)(const SwiGluForwardArgs&, int64_t begin, int64_t end);
  void (*swiglu_backward)(const SwiGluBackwardArgs&, int64_t begin, int64_t end);
  void (*cross_entropy_forward)(const CrossEntropyForwardArgs&, int64_t begin, int64_t end);
  void (*cross_entropy_backward)(const CrossEntropyBackwardArgs&, int64_t begin, int64_t end);
};

// The sets that this machine can run, best first; the last one runs everywhere.
int RowKernelSets(const RowKernels** sets, int capacity);

// The best of them.
const RowKernels& BestRowKernels();

}  // namespace attnlab
