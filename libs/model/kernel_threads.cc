#include "libs/model/kernel_threads.h"

#include <ATen/Parallel.h>

#include "kernels/parallel.h"

namespace attnlab {

void RunKernelsOnLibTorchThreads() {
  SetLaneRunner([](int lanes, void (*task)(void*, int), void* context) {
    at::parallel_for(0, lanes, 1, [&](int64_t begin, int64_t end) {
      for (int64_t lane = begin; lane < end; ++lane) task(context, static_cast<int>(lane));
    });
  });
}

}  // namespace attnlab
