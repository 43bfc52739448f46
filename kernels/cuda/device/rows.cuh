// What every kernel of kernels/cuda/device is compiled for, and what it knows of a query row.
//
// Macros of an instance: ATTNLAB_HEADER and ATTNLAB_VARIANT (the variant's header and type),
// ATTNLAB_ELEMENT (BFloat16, Float16 or float), ATTNLAB_MASK (bits: 1 causal, 2 window, 4
// documents), ATTNLAB_SKIP (1: products of tiles whose weights are all 0 are left out).
#pragma once

#include "kernels/attention.h"
#include "kernels/cuda/device/element.cuh"
#include "kernels/cuda/device/number.cuh"
#include ATTNLAB_HEADER

namespace attnlab {

using Variant = ATTNLAB_VARIANT;
using Element = ATTNLAB_ELEMENT;
inline constexpr bool kCausal = (ATTNLAB_MASK & 1) != 0;
inline constexpr bool kWindow = (ATTNLAB_MASK & 2) != 0;
inline constexpr bool kDocuments = (ATTNLAB_MASK & 4) != 0;
inline constexpr bool kSkip = ATTNLAB_SKIP != 0 && Variant::kTraits.exact_zeros;
inline constexpr bool kShifted = Variant::kTraits.shifted;
inline constexpr bool kMapped = HasScore<Variant>;
inline constexpr bool kLearns = sizeof(Variant::kLearned.data) > 0 && Variant::kLearned.size() > 0;

// The mask with what the instance leaves out folded away.
__device__ __forceinline__ Mask MaskOf(const Problem& problem, int batch) {
  Mask mask = problem.mask;
  mask.causal = kCausal;
  if (!kWindow) mask.window = mask.first_kept = 0;
  if (!kDocuments) mask.query_documents = mask.key_documents = nullptr;
  return mask.OfSequence(batch, problem.shape.queries, problem.shape.keys);
}

// A row that sees `visible` keys.
__device__ __forceinline__ Row<float> RowSeeing(const Problem& problem, const Mask& mask, int head,
                                                int query, int64_t visible) {
  Row<float> row;
  const int64_t position = query + mask.query_offset;
  row.position = static_cast<float>(position > 0 ? position : 0);
  row.visible = static_cast<float>(visible > 1 ? visible : 1);
#pragma unroll
  for (int p = 0; p < kMaxLearned; ++p) {
    row.learned[p] = p < static_cast<int>(Variant::kLearned.size()) ? problem.learned[p][head] : 0;
  }
  return row;
}

__device__ __forceinline__ Row<float> RowOf(const Problem& problem, const Mask& mask, int head,
                                            int query) {
  return RowSeeing(problem, mask, head, query, mask.CountVisible(query, problem.shape.keys));
}

// s = gain x + offset + slope key, x = q . k.
struct ScoreMap {
  float gain;
  float offset;
  float slope;
};

__device__ __forceinline__ ScoreMap ScoreMapOf(const Problem& problem, const Variant& variant,
                                               const Row<float>& row) {
  const Affine<float> affine = RowScore<Variant, float>(variant, row);
  return {affine.gain * problem.scale, affine.offset - affine.slope * row.position, affine.slope};
}

// The score as the variant takes it. Without a map of its own it is the product times the scale.
__device__ __forceinline__ Number ScoreNumber(float x, float scale) {
  return kMapped ? Number(x) : Number(x * scale, x * (scale * kLog2E));
}

// Keys that a row sees, in the 32 bits that index one sequence.
struct RowLimits {
  int kept;
  int begin;
  int end;
  int document;

  // The limits for columns counted from `column` on. The compiler takes them for new numbers, so
  // that it compares again where it would keep a predicate for each column.
  __device__ __forceinline__ RowLimits From(int column) const {
    RowLimits limits = {kept - column, begin - column, end - column, document};
    asm volatile("" : "+r"(limits.end), "+r"(limits.begin), "+r"(limits.kept));
    return limits;
  }
  __device__ __forceinline__ bool Sees(int c, int column, const int32_t* key_documents) const {
    bool sees = c < end;
    if (kWindow) sees = sees && (c >= begin || c < kept);
    if (kDocuments) sees = sees && key_documents[column + c] == document;
    return sees;
  }
};

// Whether the variant leaves the maximum of a weight and 0 to the rounding (number.cuh).
__device__ __forceinline__ constexpr bool Rectifies() { return Variant::kTraits.exact_zeros; }

// Mask::RowSpan in 32 bits; what the instance's mask lacks costs nothing.
__device__ __forceinline__ RowLimits LimitsOf(const Mask& mask, int query, int queries, int keys) {
  const int position = query + static_cast<int>(mask.query_offset);
  RowLimits limits = {0, 0, keys, 0};
  if (kCausal) limits.end = max(0, min(position + 1, keys));
  if (kWindow) {
    const int first_kept = static_cast<int>(mask.first_kept);
    if (mask.window > 0) limits.begin = max(0, position - static_cast<int>(mask.window) + 1);
    limits.begin = min(limits.begin, limits.end);
    if (limits.begin <= first_kept) limits.begin = 0;
    limits.kept = min(first_kept, limits.begin);
  }
  if (kDocuments) limits.document = mask.query_documents[query < queries ? query : queries - 1];
  return limits;
}

// The tiles of kTile keys that queries [first, last] look at, from the last to the first.
template <int kTile>
struct KeyTiles {
  int recent;  // tiles [begin, begin + recent)
  int begin;
  int kept;        // tiles [0, kept)
  int full_begin;  // no row's window hides keys from it on

  __device__ __forceinline__ KeyTiles(const Mask& mask, int first, int last, int keys) {
    const RowLimits low = LimitsOf(mask, first, last + 1, keys);
    const RowLimits high = LimitsOf(mask, last, last + 1, keys);
    const int end = (high.end + kTile - 1) / kTile;
    begin = kWindow ? low.begin / kTile : 0;
    recent = max(0, end - begin);
    kept = kWindow ? min((max(low.kept, high.kept) + kTile - 1) / kTile, begin) : 0;
    full_begin = high.begin;
  }
  __device__ __forceinline__ int Count() const { return recent + kept; }
  __device__ __forceinline__ int Tile(int i) const {
    return i < recent ? begin + recent - 1 - i : kept - 1 - (i - recent);
  }
  // Some row does not see some key of it; keys below `full_end` are early enough for all rows.
  __device__ __forceinline__ bool Partial(int tile, int full_end) const {
    return kDocuments || (tile + 1) * kTile > full_end || (kWindow && tile * kTile < full_begin);
  }
};

// The tiles of kTile queries that see some of keys [first, last].
template <int kTile>
struct QueryTiles {
  int begin;
  int end;

  __device__ __forceinline__ QueryTiles(const Mask& mask, int first, int last, int queries) {
    const int offset = static_cast<int>(mask.query_offset);
    begin = kCausal ? max(0, first - offset) / kTile : 0;
    int stop = queries;
    if (kWindow && mask.window > 0 && first >= mask.first_kept) {
      stop = min(queries, max(0, last - offset + static_cast<int>(mask.window)));
    }
    end = (stop + kTile - 1) / kTile;
    if (begin > end) begin = end;
  }
};

// Mask::Sees in 32 bits, where a row or column past the end counts for nothing without documents.
__device__ __forceinline__ bool Sees(const Mask& mask, int query, int key, int queries, int keys) {
  const int position = query + static_cast<int>(mask.query_offset);
  bool sees = !kCausal || key <= position;
  if (kWindow) {
    sees = sees && (position - key < static_cast<int>(mask.window) ||
                    key < static_cast<int>(mask.first_kept));
  }
  if (kDocuments) {
    sees = sees && query < queries && key < keys &&
           mask.query_documents[query] == mask.key_documents[key];
  }
  return sees;
}

// Some query of tile `tile` does not see some of kKeys keys from `first_key` on.
template <int kTile, int kKeys>
__device__ __forceinline__ bool IsPartial(const Mask& mask, int tile, int first_key) {
  if (kDocuments) return true;
  if (kCausal && tile * kTile + static_cast<int>(mask.query_offset) < first_key + kKeys - 1) {
    return true;
  }
  return kWindow && (tile + 1) * kTile - 1 + static_cast<int>(mask.query_offset) - first_key >=
                        static_cast<int>(mask.window);
}

}  // namespace attnlab
