#include "libs/model/cpu_setup.h"

#include <ATen/Parallel.h>
#include <malloc.h>

#include "kernels/parallel.h"

namespace attnlab {

void PrepareCpu() {
  SetLaneRunner([](int lanes, void (*task)(void*, int), void* context) {
    at::parallel_for(0, lanes, 1, [&](int64_t begin, int64_t end) {
      for (int64_t lane = begin; lane < end; ++lane) task(context, static_cast<int>(lane));
    });
  });
#if defined(__GLIBC__)
  mallopt(M_MMAP_THRESHOLD, 32 << 20);  // the most that glibc takes
  mallopt(M_TRIM_THRESHOLD, 512 << 20);
  mallopt(M_TOP_PAD, 16 << 20);
#endif
}

}  // namespace attnlab
