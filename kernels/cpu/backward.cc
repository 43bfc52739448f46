// Backward in tiles, one key head a lane: for each tile of keys the scores of every query tile that
// sees it are computed again, and
//
//     dV += P^T dO      dS = (W' (dO V^T) - M' D) / den      dK += dS^T Q      dQ += dS K
//
// with D_i = dO_i . o_i (FlashAttention-2's loop order). Sums run in one fixed order, so their bits
// do not depend on the number of lanes.
#include "kernels/cpu/blocked.h"
#include "kernels/cpu/rows.h"
#include "kernels/parallel.h"

namespace attnlab::ATTNLAB_ISA {
namespace {

// One query head: its operands, what the forward kept of its rows, and its gradients so far.
struct QueryHead {
  FloatRows queries;
  FloatRows out_grads;
  Row<float>* rows;  // each [queries]
  Affine<float>* score;
  Affine<float>* score_grad;  // gradients of gain, offset and slope; if the variant learns them
  const float* shift;
  const float* denominator;
  float* inverse;
  float* delta;        // D
  float* query_grads;  // [queries, query_width]
};

// A key head and the query heads that read it.
struct Group {
  const BackwardArgs& args;
  const VariantOps& ops;
  Mask mask;
  int64_t batch;
  int64_t kv_head;
  int64_t heads;
  int64_t query_width;  // head_dim and value_dim in whole vectors
  int64_t value_width;
  QueryHead* head;  // [heads]
};

struct KeyTile {
  int64_t begin;
  int64_t end;
  FloatRows keys;
  Right packed_keys;
  Right packed_values;
  float* key_grads;    // [kKeyTile, query_width]
  float* value_grads;  // [kKeyTile, value_width]
};

template <class T>
ATTNLAB_HD T* Advance(T*& cursor, int64_t count) {
  T* here = cursor;
  cursor += count;
  return here;
}

float Dot(const float* a, const float* b, int64_t count) {
  Vec sum(0.0f);
  for (int64_t i = 0; i < count; i += kWidth) sum = sum + Load(a + i) * Load(b + i);
  return SumOf(sum);
}

void PrepareHeads(Group& group) {
  const BackwardArgs& args = group.args;
  const Shape& shape = args.shape;
  const int64_t rows = group.heads * shape.queries;
  float* queries = LaneArray<float>(Scratch::kQueries, rows * group.query_width);
  float* out_grads = LaneArray<float>(Scratch::kOutGrads, rows * group.value_width);
  float* query_grads = LaneArray<float>(Scratch::kQueryGrads, rows * group.query_width);
  std::memset(query_grads, 0, rows * group.query_width * sizeof(float));
  auto* row = LaneArray<Row<float>>(Scratch::kRows, rows);
  auto* score = LaneArray<Affine<float>>(Scratch::kStates, 2 * rows);
  std::memset(score, 0, 2 * rows * sizeof(*score));
  float* numbers = LaneArray<float>(Scratch::kSums, 2 * rows);
  float* floors = LaneArray<float>(Scratch::kKeep, shape.queries);  // not needed again
  float* out_row = LaneArray<float>(Scratch::kValues, group.value_width);
  group.head = LaneArray<QueryHead>(Scratch::kHeads, group.heads);
  for (int64_t g = 0; g < group.heads; ++g) {
    const int64_t index = group.kv_head * group.heads + g;
    const int64_t place = (group.batch * shape.heads + index) * shape.queries;
    QueryHead& head = group.head[g];
    head.queries =
        Resolve(OneHead(args.q, args.dtype, group.batch, index, shape.head_dim), 0, shape.queries,
                Reading::kTiles, Advance(queries, shape.queries * group.query_width));
    head.out_grads = Resolve(
        OneHead(args.out_grad, args.dtype, group.batch, index, shape.value_dim), 0, shape.queries,
        Reading::kTiles, Advance(out_grads, shape.queries * group.value_width));
    head.rows = Advance(row, shape.queries);
    head.score = Advance(score, shape.queries);
    head.score_grad = Advance(score, shape.queries);
    head.shift = args.shift + place;
    head.denominator = args.denominator + place;
    head.inverse = Advance(numbers, shape.queries);
    head.delta = Advance(numbers, shape.queries);
    head.query_grads = Advance(query_grads, shape.queries * group.query_width);
    DescribeRows(args, group.ops, group.mask, index, 0, shape.queries, head.rows);
    group.ops.begin_rows(args.constants, head.rows, shape.queries, head.score, floors);
    const HeadRows outs = OneHead(args.out, args.dtype, group.batch, index, shape.value_dim);
    for (int64_t i = 0; i < shape.queries; ++i) {
      head.inverse[i] = InverseOf(head.denominator[i]);
      const FloatRows out = Resolve(outs, i, 1, Reading::kVectors, out_row);
      head.delta[i] = Dot(out.data, head.out_grads.Row(i), group.value_width);
    }
  }
}

// True where every visible score of the tile is negative.
bool AllNegative(const float* scores, const float* keep, int64_t rows, int64_t columns,
                 const RowMap* map) {
  for (int64_t i = 0; i < rows; ++i) {
    const float* row_keep = keep == nullptr ? nullptr : keep + i * kTileStride;
    if (!(RowMax(scores + i * kTileStride, row_keep, static_cast<int>(columns), map[i], kNoFloor) <
          0.0f)) {
      return false;
    }
  }
  return true;
}

// Adds a tile's gradients of the score map to those of its rows.
void AddScoreGrads(QueryHead& head, int64_t query, int64_t rows, int64_t key_begin, float scale,
                   const float* sums) {
  for (int64_t i = 0; i < rows; ++i, sums += 3) {
    const float distance = head.rows[query + i].position - static_cast<float>(key_begin);
    Affine<float>& grad = head.score_grad[query + i];
    grad.offset += sums[0];
    grad.gain += scale * sums[1];
    grad.slope += sums[2] - distance * sums[0];
  }
}

void RunTile(const Group& group, QueryHead& head, const KeyTile& tile, int64_t query, int64_t rows,
             int64_t key_end, bool partial) {
  const BackwardArgs& args = group.args;
  const Shape& shape = args.shape;
  const int64_t depth = key_end - tile.begin;
  const int64_t columns = RoundUp(depth, kWidth);
  float* scores = LaneArray<float>(Scratch::kScores, kQueryTile * kTileStride);
  float* grads = LaneArray<float>(Scratch::kGrads, kQueryTile * kTileStride);
  const Left queries = Rows(head.queries.Row(query), head.queries.stride);
  const float* out_grads = head.out_grads.Row(query);
  Multiply(rows, columns, shape.head_dim, queries, tile.packed_keys, scores, kTileStride, false);

  float* keep = nullptr;
  if (partial || columns != depth) {
    keep = LaneArray<float>(Scratch::kKeep, kQueryTile * kTileStride);
    FillKeep(group.mask, query, rows, tile.begin, columns, shape.keys, keep, kTileStride);
  }
  RowMap map[kQueryTile];
  MapRows(head.rows + query, head.score + query, rows, args.scale, tile.begin, map);
  const bool weightless =
      group.ops.traits.exact_zeros && AllNegative(scores, keep, rows, columns, map);
  if (weightless && group.ops.traits.massless) return;
  if (weightless) {
    std::memset(grads, 0, rows * kTileStride * sizeof(float));
  } else {
    Multiply(rows, columns, shape.value_dim, Rows(out_grads, head.out_grads.stride),
             tile.packed_values, grads, kTileStride, false);
  }
  float sums[3 * kQueryTile];
  group.ops.backward(args.constants,
                     {static_cast<int>(rows), static_cast<int>(columns), scores, grads, keep, map,
                      head.shift + query, head.inverse + query, head.delta + query, sums});
  if (group.ops.learned_scores) AddScoreGrads(head, query, rows, tile.begin, args.scale, sums);
  if (!weightless) {
    Multiply(depth, group.value_width, rows, Transposed(scores, kTileStride),
             Columns(out_grads, head.out_grads.stride), tile.value_grads, group.value_width, true);
  }
  Multiply(depth, group.query_width, rows, Transposed(grads, kTileStride),
           Columns(head.queries.Row(query), head.queries.stride), tile.key_grads, group.query_width,
           true);
  Multiply(rows, group.query_width, depth, Rows(grads, kTileStride),
           Columns(tile.keys.data, tile.keys.stride), head.query_grads + query * group.query_width,
           group.query_width, true);
}

void RunKeyTile(const Group& group, int64_t begin, int64_t query_tile) {
  const BackwardArgs& args = group.args;
  const Shape& shape = args.shape;
  const int64_t count = Least(kKeyTile, shape.keys - begin);
  float* key_scratch = LaneArray<float>(Scratch::kKeys, kKeyTile * group.query_width);
  float* value_scratch = LaneArray<float>(Scratch::kValues, kKeyTile * group.value_width);
  KeyTile tile;
  tile.begin = begin;
  tile.end = begin + count;
  tile.keys = Resolve(OneHead(args.k, args.dtype, group.batch, group.kv_head, shape.head_dim),
                      begin, count, Reading::kTiles, key_scratch);
  tile.packed_keys =
      PackTransposed(tile.keys, count, shape.head_dim,
                     LaneArray<float>(Scratch::kPackedKeys, kKeyTile * shape.head_dim));
  const FloatRows values =
      Resolve(OneHead(args.v, args.dtype, group.batch, group.kv_head, shape.value_dim), begin,
              count, Reading::kNumbers, value_scratch);
  tile.packed_values =
      PackTransposed(values, count, shape.value_dim,
                     LaneArray<float>(Scratch::kPackedValues, kKeyTile * shape.value_dim));
  tile.key_grads = LaneArray<float>(Scratch::kKeyGrads, kKeyTile * group.query_width);
  tile.value_grads = LaneArray<float>(Scratch::kValueGrads, kKeyTile * group.value_width);
  std::memset(tile.key_grads, 0, count * group.query_width * sizeof(float));
  std::memset(tile.value_grads, 0, count * group.value_width * sizeof(float));

  for (int64_t g = 0; g < group.heads; ++g) {
    for (int64_t query = 0; query < shape.queries; query += query_tile) {
      const int64_t rows = Least(query_tile, shape.queries - query);
      const int64_t key_end = Least(tile.end, group.mask.RowSpan(query + rows - 1, shape.keys).end);
      if (key_end <= begin) continue;
      const TileClass tile_class =
          group.mask.Classify(query, query + rows, begin, key_end, shape.keys);
      if (tile_class == TileClass::kEmpty) continue;
      RunTile(group, group.head[g], tile, query, rows, key_end, tile_class == TileClass::kPartial);
    }
  }
  for (int64_t i = 0; i < count; ++i) {
    WriteRow(args.k_grad, args.dtype, group.batch, group.kv_head, begin + i, shape.head_dim,
             tile.key_grads + i * group.query_width);
    WriteRow(args.v_grad, args.dtype, group.batch, group.kv_head, begin + i, shape.value_dim,
             tile.value_grads + i * group.value_width);
  }
}

// Writes dQ, and the head's share of the learned numbers' gradients to learned_grad [kMaxLearned].
void FinishHead(const Group& group, int64_t g, double* learned_grad) {
  const BackwardArgs& args = group.args;
  const QueryHead& head = group.head[g];
  for (int64_t i = 0; i < args.shape.queries; ++i) {
    WriteRow(args.q_grad, args.dtype, group.batch, group.kv_head * group.heads + g, i,
             args.shape.head_dim, head.query_grads + i * group.query_width);
  }
  for (int p = 0; p < kMaxLearned; ++p) learned_grad[p] = 0.0;
  for (int64_t i = 0; group.ops.learned > 0 && i < args.shape.queries; ++i) {
    group.ops.learned_grad(args.constants, head.rows[i], head.shift[i],
                           -head.delta[i] * head.inverse[i], head.score_grad[i], learned_grad);
  }
}

void RunGroup(const BackwardArgs& args, const VariantOps& ops, int64_t batch, int64_t kv_head,
              double* learned_grad) {
  const Shape& shape = args.shape;
  Group group{args,
              ops,
              args.mask.OfSequence(batch, shape.queries, shape.keys),
              batch,
              kv_head,
              shape.heads / shape.kv_heads,
              RoundUp(shape.head_dim, kWidth),
              RoundUp(shape.value_dim, kWidth),
              nullptr};
  PrepareHeads(group);
  const int64_t query_tile = shape.queries <= 2 * kQueryTile ? kQueryTile / 2 : kQueryTile;
  for (int64_t key = 0; key < shape.keys; key += kKeyTile) RunKeyTile(group, key, query_tile);
  for (int64_t g = 0; g < group.heads; ++g) {
    FinishHead(group, g,
               learned_grad + (batch * shape.heads + kv_head * group.heads + g) * kMaxLearned);
  }
}

}  // namespace

void Backward(const BackwardArgs& args, const VariantOps& ops) {
  const Shape& shape = args.shape;
  double* learned_grad =
      LaneArray<double>(Scratch::kLearned, shape.batch * shape.heads * kMaxLearned);
  ForEachItem(static_cast<int>(shape.batch * shape.kv_heads), [&](int item) {
    RunGroup(args, ops, item / shape.kv_heads, item % shape.kv_heads, learned_grad);
  });
  for (int p = 0; p < ops.learned; ++p) {
    for (int64_t head = 0; head < shape.heads; ++head) {
      double sum = 0.0;
      for (int64_t batch = 0; batch < shape.batch; ++batch) {
        sum += learned_grad[(batch * shape.heads + head) * kMaxLearned + p];
      }
      args.learned_grad[p][head] = static_cast<float>(sum);
    }
  }
}

}  // namespace attnlab::ATTNLAB_ISA
