// The kernels of kernels/attention.h on tensors: strides and pointers in, statistics kept as
// blocked.h keeps them.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "kernels/attention.h"
#include "libs/attention/blocked.h"
#include "libs/attention/options.h"

namespace attnlab {

// Pointers and strides of `t` [batch, heads, rows, dim], whose last stride is 1.
Operand OperandOf(const at::Tensor& t);
Result ResultOf(const at::Tensor& t);

// What a launch needs to know of `options` and operands in the layout of the kernels, on the
// current stream of their device. The learned numbers are float32 and contiguous.
Problem ProblemOf(const at::Tensor& q,  // [B, H, T, D]
                  const at::Tensor& k,  // [B, Hkv, S, D]
                  const at::Tensor& v,  // [B, Hkv, S, Dv]
                  const AttentionOptions& options,
                  const std::vector<at::Tensor>& learned);  // each [H]

// A kernel made for speed takes these operands: any on a CPU in float32 and bfloat16; on a CUDA
// device 16-bit numbers in the shapes of kernels/cuda/.
bool HasKernel(const at::Tensor& q,  // [B, H, T, D]
               const at::Tensor& k,  // [B, Hkv, S, D]
               const at::Tensor& v,  // [B, Hkv, S, Dv]
               const AttentionOptions& options);

// As BlockedForward, with the statistics only if `keep_statistics`. Throws c10::Error where no
// kernel takes the operands.
BlockedOutput KernelForward(const at::Tensor& q,  // [B, H, T, D]
                            const at::Tensor& k,  // [B, Hkv, S, D]
                            const at::Tensor& v,  // [B, Hkv, S, Dv]
                            const AttentionOptions& options,
                            const std::vector<at::Tensor>& head_parameters,  // each [H]
                            bool keep_statistics);

AttentionGradients KernelBackward(const at::Tensor& out_grad,  // [B, H, T, Dv]
                                  const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                  const BlockedOutput& forward, const AttentionOptions& options,
                                  const std::vector<at::Tensor>& head_parameters);

// The options of a decode: with skip_zero_tiles auto it does not read values of weight 0, whichever
// variant has them, since its time is that of the bytes that it reads.
AttentionOptions ForDecode(AttentionOptions options);

// The output of few queries on many keys, the queries being the last positions: [B, H, T, Dv].
at::Tensor KernelDecode(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                        const AttentionOptions& options,
                        const std::vector<at::Tensor>& head_parameters);

}  // namespace attnlab
