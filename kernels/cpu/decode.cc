// Decode: few queries on many keys. The keys of a head are cut into ranges of kSplit; each range is
// one item that reads its keys and values once for all the query rows that share them and leaves a
// row state, and the states merge in the order of the ranges (kernels/row_state.h). A value whose
// weights are all 0 is not read.
#include "kernels/cpu/blocked.h"
#include "kernels/cpu/rows.h"
#include "kernels/parallel.h"
#include "kernels/row_state.h"

namespace attnlab::ATTNLAB_ISA {
namespace {

constexpr int64_t kSplit = 1024;  // keys of a range; a multiple of kKeyTile

// The query rows of one key head: row r is query r % queries of head r / queries of the group.
struct KeyHead {
  const ForwardArgs& args;
  const VariantOps& ops;
  Mask mask;
  int64_t batch;
  int64_t kv_head;
  int64_t rows;
  int64_t width;  // value_dim in whole vectors

  int64_t Head(int64_t row) const {
    return kv_head * (args.shape.heads / args.shape.kv_heads) + row / args.shape.queries;
  }
  int64_t Query(int64_t row) const { return row % args.shape.queries; }
  void Describe(int64_t first, int64_t count, Row<float>* row) const {
    for (int64_t i = 0; i < count; ++i) {
      DescribeRows(args, ops, mask, Head(first + i), Query(first + i), 1, row + i);
    }
  }
};

// Floats of the state of one row over one range: m, mass, sums [width].
int64_t StateSize(int64_t width) { return 2 + width; }

KeyHead MakeKeyHead(const ForwardArgs& args, const VariantOps& ops, int64_t key_head) {
  const Shape& shape = args.shape;
  const int64_t batch = key_head / shape.kv_heads;
  return {args,
          ops,
          args.mask.OfSequence(batch, shape.queries, shape.keys),
          batch,
          key_head % shape.kv_heads,
          shape.heads / shape.kv_heads * shape.queries,
          RoundUp(shape.value_dim, kWidth)};
}

float DotProduct(const float* a, const float* b, int64_t count) {
  Vec sum(0.0f);
  int64_t i = 0;
  for (; i + kWidth <= count; i += kWidth) sum = sum + Load(a + i) * Load(b + i);
  float rest = 0.0f;
  for (; i < count; ++i) rest += a[i] * b[i];
  return SumOf(sum) + rest;
}

// Adds keys [begin, end), at most kKeyTile of them, to rows [first, first + count).
void AbsorbKeys(const KeyHead& keys, int64_t first, int64_t count, int64_t begin, int64_t end,
                const Row<float>* rows, const Affine<float>* score, float* shift, float* mass,
                float* sums) {
  const ForwardArgs& args = keys.args;
  const Shape& shape = args.shape;
  const int64_t depth = end - begin;
  const int64_t columns = RoundUp(depth, kWidth);
  float* scores = LaneArray<float>(Scratch::kScores, kQueryTile * kTileStride);
  float* keep = LaneArray<float>(Scratch::kKeep, kQueryTile * kTileStride);
  const FloatRows key_rows =
      Resolve(OneHead(args.k, args.dtype, keys.batch, keys.kv_head, shape.head_dim), begin, depth,
              Reading::kNumbers,
              LaneArray<float>(Scratch::kKeys, kKeyTile * RoundUp(shape.head_dim, kWidth)));
  float* query_scratch = LaneArray<float>(Scratch::kQueries, RoundUp(shape.head_dim, kWidth));
  for (int64_t i = 0; i < count; ++i) {
    const int64_t query = keys.Query(first + i);
    const FloatRows q =
        Resolve(OneHead(args.q, args.dtype, keys.batch, keys.Head(first + i), shape.head_dim),
                query, 1, Reading::kNumbers, query_scratch);
    float* row = scores + i * kTileStride;
    for (int64_t c = 0; c < depth; ++c) {
      row[c] = DotProduct(q.data, key_rows.Row(c), shape.head_dim);
    }
    for (int64_t c = depth; c < columns; ++c) row[c] = 0.0f;
    FillKeep(keys.mask, query, 1, begin, columns, shape.keys, keep + i * kTileStride, kTileStride);
  }
  RowMap map[kQueryTile];
  float rescale[kQueryTile];
  MapRows(rows, score, count, args.scale, begin, map);
  keys.ops.forward(args.constants, {static_cast<int>(count), static_cast<int>(columns), scores,
                                    keep, map, shift, mass, rescale});
  const FloatRows values =
      Resolve(OneHead(args.v, args.dtype, keys.batch, keys.kv_head, shape.value_dim), begin, depth,
              Reading::kVectors, LaneArray<float>(Scratch::kValues, kKeyTile * keys.width));
  for (int64_t i = 0; i < count; ++i) {
    float* sum = sums + i * keys.width;
    for (int64_t j = 0; rescale[i] != 1.0f && j < keys.width; j += kWidth) {
      Store(sum + j, Load(sum + j) * Vec(rescale[i]));
    }
  }
  for (int64_t c = 0; c < depth; ++c) {
    for (int64_t i = 0; i < count; ++i) {
      const float weight = scores[i * kTileStride + c];
      if (weight == 0.0f) continue;
      float* sum = sums + i * keys.width;
      const float* value = values.Row(c);
      for (int64_t j = 0; j < keys.width; j += kWidth) {
        Store(sum + j, Load(value + j) * Vec(weight) + Load(sum + j));
      }
    }
  }
}

// Fills states[row] of the range [begin, end) for every query row.
void RunRange(const KeyHead& keys, int64_t begin, int64_t end, float* states) {
  Row<float> rows[kQueryTile];
  Affine<float> score[kQueryTile];
  float shift[kQueryTile], mass[kQueryTile];
  float* sums = LaneArray<float>(Scratch::kSums, kQueryTile * keys.width);
  for (int64_t first = 0; first < keys.rows; first += kQueryTile) {
    const int64_t count = Least(kQueryTile, keys.rows - first);
    keys.Describe(first, count, rows);
    keys.ops.begin_rows(keys.args.constants, rows, count, score, shift);
    for (int64_t i = 0; i < count; ++i) mass[i] = 0.0f;
    std::memset(sums, 0, count * keys.width * sizeof(float));
    for (int64_t key = begin; key < end; key += kKeyTile) {
      AbsorbKeys(keys, first, count, key, Least(key + kKeyTile, end), rows, score, shift, mass,
                 sums);
    }
    for (int64_t i = 0; i < count; ++i) {
      float* state = states + (first + i) * StateSize(keys.width);
      state[0] = shift[i];
      state[1] = mass[i];
      std::memcpy(state + 2, sums + i * keys.width, keys.width * sizeof(float));
    }
  }
}

// Merges the states of all ranges into the first and writes the rows out.
void FinishKeyHead(const KeyHead& keys, int64_t ranges, float* states) {
  const ForwardArgs& args = keys.args;
  const int64_t size = StateSize(keys.width);
  for (int64_t r = 0; r < keys.rows; ++r) {
    float* state = states + r * size;
    for (int64_t range = 1; range < ranges; ++range) {
      const float* other = state + range * keys.rows * size;
      MergeRow(keys.ops.traits.shifted, static_cast<int>(keys.width), other[0], other[1], other + 2,
               state, state + 1, state + 2);
    }
    Row<float> row;
    float tail;
    keys.Describe(r, 1, &row);
    keys.ops.tails(args.constants, &row, 1, state, &tail);
    const float denominator = state[1] + tail;
    const Vec inverse(InverseOf(denominator));
    for (int64_t j = 2; j < size; j += kWidth) Store(state + j, Load(state + j) * inverse);
    WriteRow(args.out, args.dtype, keys.batch, keys.Head(r), keys.Query(r), args.shape.value_dim,
             state + 2);
    if (args.shift == nullptr) continue;
    const int64_t place =
        (keys.batch * args.shape.heads + keys.Head(r)) * args.shape.queries + keys.Query(r);
    args.shift[place] = state[0];
    args.denominator[place] = denominator;
  }
}

}  // namespace

void Decode(const ForwardArgs& args, const VariantOps& ops) {
  const Shape& shape = args.shape;
  const int64_t key_heads = shape.batch * shape.kv_heads;
  if (key_heads == 0) return;
  const int64_t ranges = Most(1, (shape.keys + kSplit - 1) / kSplit);
  const KeyHead first = MakeKeyHead(args, ops, 0);
  const int64_t per_range = first.rows * StateSize(first.width);
  float* states = LaneArray<float>(Scratch::kStates, key_heads * ranges * per_range);
  ForEachItem(static_cast<int>(key_heads * ranges), [&](int item) {
    const int64_t begin = item % ranges * kSplit;
    RunRange(MakeKeyHead(args, ops, item / ranges), begin, Least(begin + kSplit, shape.keys),
             states + item * per_range);
  });
  for (int64_t key_head = 0; key_head < key_heads; ++key_head) {
    FinishKeyHead(MakeKeyHead(args, ops, key_head), ranges, states + key_head * ranges * per_range);
  }
}

}  // namespace attnlab::ATTNLAB_ISA
