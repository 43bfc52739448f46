// What the launches of the tiled kernels (hopper, mma) share: the order of work, the workspace of
// the backward, its kernels that touch no tile.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/attention.h"
#include "kernels/cuda/device/params.h"
#include "kernels/cuda/instances.h"
#include "kernels/cuda/runtime.h"

namespace attnlab::cuda {

inline int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// 16-bit elements, rows on boundaries of 16 bytes.
template <class AnyOperand>
bool Aligned(const AnyOperand& operand) {
  return reinterpret_cast<uintptr_t>(operand.data) % 16 == 0 && operand.row_stride % 8 == 0 &&
         operand.head_stride % 8 == 0 && operand.batch_stride % 8 == 0;
}

// Sizes that tiled kernels count in 32 bits, of which none is 0, 16-bit elements, one head dim for
// keys and values, a positive scale, aligned operands.
bool TiledTakes(const Problem& problem);

// `tiles` tiles of each of `heads` heads. `head_elements` of a head's operands are read by all of
// its tiles, and `sharing` heads in a row read the same: half the L2 cache is for them.
Schedule ScheduleOf(int64_t tiles, int64_t batch, int64_t heads, int64_t head_elements,
                    int64_t sharing, const DeviceInfo& device);

// The arguments of a backward by tiles of `query_tile` queries. `sums`: blocks of keys add to one
// gradient of queries.
BackwardParams BackwardParamsOf(const BackwardArgs& args, int query_tile, bool sums = false);
int64_t BackwardWorkspace(const BackwardArgs& args, int query_tile, bool sums = false);  // bytes

// Statistics of rows, before the others; the instance is of statistics.cuh.
std::string RunStatistics(const Instance& instance, const BackwardParams& params);
// Sums of learned gradients, after the query kernel, whose instance it shares.
std::string RunSumLearned(const Instance& instance, const BackwardParams& params);

}  // namespace attnlab::cuda
