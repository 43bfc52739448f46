// What both decode kernels know of sequences and of the query rows of a key head.
#pragma once

#include "kernels/cuda/device/ampere.cuh"
#include "kernels/cuda/device/decode_params.h"
#include "kernels/cuda/device/rows.cuh"

namespace attnlab::decode {

using namespace attnlab::ampere;

inline constexpr int kDim = ATTNLAB_HEAD_DIM;
inline constexpr unsigned kAll = ~0u;

// A sequence of the batch: its keys, its mask, where its queries stand.
struct Sequence {
  Mask mask;
  int keys;

  __device__ __forceinline__ Sequence(const ForwardArgs& args, int batch)
      : mask(MaskOf(args, batch)), keys(static_cast<int>(args.shape.keys)) {
    if (args.cache.key_lengths == nullptr) return;
    keys = max(0, min(args.cache.key_lengths[batch], keys));
    mask.query_offset = keys - args.shape.queries;
  }

  // With documents, all lanes of a warp call it together.
  __device__ __forceinline__ int64_t CountVisible(int query, int lane) const {
    if (!kDocuments) return mask.CountVisible(query, keys);
    const RowLimits limits = LimitsOf(mask, query, query + 1, keys);
    int count = 0;
    for (int key = lane; key < limits.end; key += 32) {
      count += limits.Sees(key, 0, mask.key_documents) ? 1 : 0;
    }
    return __reduce_add_sync(kAll, count);
  }
};

// Row r of a key head is query r % queries of its query head r / queries.
struct RowPlace {
  int head;
  int query;

  __device__ __forceinline__ RowPlace(const Shape& shape, int kv_head, int r) {
    const int queries = static_cast<int>(shape.queries);
    const int sharing = static_cast<int>(shape.heads / shape.kv_heads);
    head = kv_head * sharing + r / queries;
    query = r % queries;
  }
};

__device__ __forceinline__ Row<float> DescribeRow(const ForwardArgs& args, const Sequence& sequence,
                                                  const RowPlace& place, int lane) {
  return RowSeeing(args, sequence.mask, place.head, place.query,
                   sequence.CountVisible(place.query, lane));
}

}  // namespace attnlab::decode
