// What tiled kernels share beside their instructions: the order of work, places of rows, sums.
#pragma once

#include "kernels/cuda/device/params.h"
#include "kernels/cuda/device/rows.cuh"

namespace attnlab {

// A tile of one head. Heads come in sections that fit into the L2 cache together.
struct Work {
  int tile, head, batch;

  __device__ __forceinline__ Work(int tile, int head, int batch)
      : tile(tile), head(head), batch(batch) {}
  // `long_last`: later tiles are the longer ones.
  __device__ __forceinline__ Work(const Schedule& schedule, int index, bool long_last) {
    const unsigned section = static_cast<unsigned>(index) / schedule.per_section;
    const unsigned first = section * schedule.section;
    const unsigned size = min(schedule.section, schedule.all - first);
    const unsigned rest = index - section * schedule.per_section;
    const unsigned place = rest / size;
    tile = static_cast<int>(long_last ? schedule.tiles - 1 - place : place);
    const unsigned at = first + rest - place * size;
    batch = static_cast<int>(at / schedule.heads);
    head = static_cast<int>(at - batch * schedule.heads);
  }
};

__device__ __forceinline__ const Element* RowAt(const Operand& operand, int batch, int head,
                                                int row) {
  return static_cast<const Element*>(operand.data) + batch * operand.batch_stride +
         head * operand.head_stride + row * operand.row_stride;
}
__device__ __forceinline__ Element* RowAt(const Result& result, int batch, int head, int row) {
  return static_cast<Element*>(result.data) + batch * result.batch_stride +
         head * result.head_stride + row * result.row_stride;
}

__device__ __forceinline__ float SumOfWarp(float x) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) x += __shfl_xor_sync(~0u, x, step);
  return x;
}

__device__ __forceinline__ float MaxOfWarp(float x) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(~0u, x, step));
  return x;
}

}  // namespace attnlab
