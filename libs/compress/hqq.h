// HQQ (Badri and Shaji 2023, "Half-Quadratic Quantization of Large Machine Learning Models"): a
// group's scale spans its weights; its zero is moved until the errors are few and large rather than
// many and small, which needs no text. With Q = clamp(round(W s + z)) and R = (Q - z) / s,
//
//     min over z, E of  |E|_p^p + beta / 2 |E - (W - R)|^2        p = 0.7
//
// alternates  E <- shrink(W - R), shrink(x) = sign(x) max(0, |x| - |x|^(p - 1) / beta), and
// z <- the group's mean of  Q - (W - E) s, until the mean |W - R| no longer falls.
//
// The solvers are those of the package hqq 0.2.8 on a CPU, in float32, with the same bits given the
// same number of threads (the mean error, which ends the search, is summed a thread at a time) and
// sizes that are multiples of 16. On CUDA the package works in float16; this one does not.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace attnlab {

enum class HqqSolver {
  kLegacy,  // the package's default: 20 steps; keeps the zero of the step that did not help
  kV2,      // 20 steps with growing beta; goes back to the best zero
  kSlow,    // 100 steps with growing beta, all of them
};

struct HqqOptions {
  int64_t bits = 4;  // 1 to 8
  int64_t axis = 1;  // groups are rows (1) or columns (0) of the view
  HqqSolver solver = HqqSolver::kLegacy;
};

// (code - zero) scale; zeros are real numbers.
struct HqqResult {
  at::Tensor codes;        // uint8, the shape of the view
  at::Tensor scale, zero;  // float32 [groups, 1] or [1, groups]
};

// With 4 bits zeros start rounded, as the package's default has it.
HqqResult SolveHqq(const at::Tensor& view,  // float32, contiguous: libs/packed/hqq_format.h
                   const HqqOptions& options);

}  // namespace attnlab
