// Which compiled copies of the row kernels (rows.cc) this machine can run.

#include "kernels/fused/rows.h"

namespace attnlab {

namespace baseline {
extern const RowKernels kRowKernels;
}
#if defined(__x86_64__)
namespace avx2 {
extern const RowKernels kRowKernels;
}
namespace avx512 {
extern const RowKernels kRowKernels;
}
#endif

int RowKernelSets(const RowKernels** sets, int capacity) {
  int count = 0;
  const auto add = [&](const RowKernels& set) {
    if (count < capacity) sets[count++] = &set;
  };
#if defined(__x86_64__)
  if (__builtin_cpu_supports("x86-64-v4")) add(avx512::kRowKernels);
  if (__builtin_cpu_supports("x86-64-v3")) add(avx2::kRowKernels);
#endif
  add(baseline::kRowKernels);
  return count;
}

const RowKernels& BestRowKernels() {
  static const RowKernels* const best = [] {
    const RowKernels* first = nullptr;
    RowKernelSets(&first, 1);
    return first;
  }();
  return *best;
}

}  // namespace attnlab
