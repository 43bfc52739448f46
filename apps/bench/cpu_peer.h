// What the kernels are held against: LibTorch's own flash attention on the CPU, and its matrix
// product as the measure of the machine.
#pragma once

#include <functional>
#include <memory>

#include "kernels/bench/bench.h"

namespace attnlab {

// Makes LibTorch use `threads` cores, and the kernels the same pool of threads.
void ShareThreads(int threads);

// LibTorch's flash attention (softmax) on the operands of a problem without grouped heads.
struct Peer {
  std::function<void()> forward;
  std::function<void()> backward;
};
Peer MakePeer(const BenchProblem& problem);

// The best rate of a large float32 matrix product, in floating-point operations a second.
double MeasurePeakRate();

}  // namespace attnlab
