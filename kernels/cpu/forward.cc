// Forward in tiles of kQueryTile queries by kKeyTile keys, FlashAttention-2 style: scores of one
// tile, weights in place, older sums rescaled when a row's m grew, weights times values added.
#include "kernels/cpu/blocked.h"
#include "kernels/cpu/rows.h"
#include "kernels/parallel.h"

namespace attnlab::ATTNLAB_ISA {
namespace {

// One key head on one lane: its keys transposed once, for every query tile that reads them.
struct KeyHead {
  const ForwardArgs& args;
  const VariantOps& ops;
  Mask mask;
  int64_t batch;
  int64_t kv_head;
  const float* packed_keys;
  FloatRows values;
};

struct QueryTile {
  int64_t head;
  int64_t begin;
  int64_t rows;
  Row<float> row[kQueryTile];
  Affine<float> score[kQueryTile];
  float shift[kQueryTile];
  float mass[kQueryTile];
};

// Adds keys [key_begin, key_end) to the rows of `tile` and to sums [rows, width].
void AbsorbKeys(const KeyHead& keys, QueryTile& tile, const FloatRows& queries, int64_t key_begin,
                int64_t key_end, bool partial, float* sums, int64_t width) {
  const Shape& shape = keys.args.shape;
  const int64_t depth = key_end - key_begin;
  const int64_t columns = RoundUp(depth, kWidth);
  float* scores = LaneArray<float>(Scratch::kScores, kQueryTile * kTileStride);
  const Right transposed{keys.packed_keys + key_begin * shape.head_dim, kPanel,
                         kPanel * shape.head_dim};
  Multiply(tile.rows, columns, shape.head_dim, Rows(queries.data, queries.stride), transposed,
           scores, kTileStride, false);

  float* keep = nullptr;
  if (partial || columns != depth) {
    keep = LaneArray<float>(Scratch::kKeep, kQueryTile * kTileStride);
    FillKeep(keys.mask, tile.begin, tile.rows, key_begin, columns, shape.keys, keep, kTileStride);
  }
  RowMap map[kQueryTile];
  float rescale[kQueryTile];
  MapRows(tile.row, tile.score, tile.rows, keys.args.scale, key_begin, map);
  const bool any =
      keys.ops.forward(keys.args.constants, {static_cast<int>(tile.rows), static_cast<int>(columns),
                                             scores, keep, map, tile.shift, tile.mass, rescale});
  for (int64_t i = 0; i < tile.rows; ++i) {
    if (rescale[i] == 1.0f) continue;
    float* row = sums + i * width;
    for (int64_t j = 0; j < width; j += kWidth) Store(row + j, Load(row + j) * Vec(rescale[i]));
  }
  if (any) {
    Multiply(tile.rows, width, depth, Rows(scores, kTileStride),
             Columns(keys.values.Row(key_begin), keys.values.stride), sums, width, true);
  }
}

void FinishTile(const KeyHead& keys, QueryTile& tile, float* sums, int64_t width) {
  const ForwardArgs& args = keys.args;
  float tail[kQueryTile];
  keys.ops.tails(args.constants, tile.row, tile.rows, tile.shift, tail);
  for (int64_t i = 0; i < tile.rows; ++i) {
    const float denominator = tile.mass[i] + tail[i];
    const Vec inverse(InverseOf(denominator));
    float* row = sums + i * width;
    for (int64_t j = 0; j < width; j += kWidth) Store(row + j, Load(row + j) * inverse);
    WriteRow(args.out, args.dtype, keys.batch, tile.head, tile.begin + i, args.shape.value_dim,
             row);
    if (args.shift == nullptr) continue;
    const int64_t place =
        (keys.batch * args.shape.heads + tile.head) * args.shape.queries + tile.begin + i;
    args.shift[place] = tile.shift[i];
    args.denominator[place] = denominator;
  }
}

void RunQueryTile(const KeyHead& keys, int64_t head, int64_t begin, int64_t rows) {
  const ForwardArgs& args = keys.args;
  const Shape& shape = args.shape;
  QueryTile tile = {};
  tile.head = head;
  tile.begin = begin;
  tile.rows = rows;
  DescribeRows(args, keys.ops, keys.mask, head, begin, rows, tile.row);
  keys.ops.begin_rows(args.constants, tile.row, rows, tile.score, tile.shift);
  for (int64_t i = 0; i < rows; ++i) tile.mass[i] = 0.0f;

  const int64_t width = RoundUp(shape.value_dim, kWidth);
  float* sums = LaneArray<float>(Scratch::kSums, kQueryTile * width);
  std::memset(sums, 0, rows * width * sizeof(float));
  float* query_scratch =
      LaneArray<float>(Scratch::kQueries, kQueryTile * RoundUp(shape.head_dim, kWidth));
  const FloatRows queries = Resolve(OneHead(args.q, args.dtype, keys.batch, head, shape.head_dim),
                                    begin, rows, Reading::kTiles, query_scratch);

  const int64_t last_end = keys.mask.RowSpan(begin + rows - 1, shape.keys).end;
  for (int64_t key = 0; key < last_end; key += kKeyTile) {
    const int64_t end = Least(key + kKeyTile, last_end);
    const TileClass tile_class = keys.mask.Classify(begin, begin + rows, key, end, shape.keys);
    if (tile_class == TileClass::kEmpty) continue;
    AbsorbKeys(keys, tile, queries, key, end, tile_class == TileClass::kPartial, sums, width);
  }
  FinishTile(keys, tile, sums, width);
}

// Tiles `first`, first + step, ... of the query tiles that read one key head, last positions first.
void RunKeyHead(const ForwardArgs& args, const VariantOps& ops, int64_t batch, int64_t kv_head,
                int64_t query_tile, int64_t first, int64_t step) {
  const Shape& shape = args.shape;
  const HeadRows keys = OneHead(args.k, args.dtype, batch, kv_head, shape.head_dim);
  float* packed = LaneArray<float>(Scratch::kPackedKeys, PackedSize(shape.keys, shape.head_dim));
  float* key_scratch = LaneArray<float>(Scratch::kKeys, kPanel * RoundUp(shape.head_dim, kWidth));
  for (int64_t key = 0; key < shape.keys; key += kPanel) {
    const int64_t count = Least(kPanel, shape.keys - key);
    PackTransposed(Resolve(keys, key, count, Reading::kNumbers, key_scratch), count, shape.head_dim,
                   packed + key * shape.head_dim);
  }
  float* value_scratch =
      LaneArray<float>(Scratch::kValues, shape.keys * RoundUp(shape.value_dim, kWidth));
  const FloatRows values = Resolve(OneHead(args.v, args.dtype, batch, kv_head, shape.value_dim), 0,
                                   shape.keys, Reading::kTiles, value_scratch);
  const KeyHead key_head{args,  ops,     args.mask.OfSequence(batch, shape.queries, shape.keys),
                         batch, kv_head, packed,
                         values};

  const int64_t group = shape.heads / shape.kv_heads;
  const int64_t tiles = (shape.queries + query_tile - 1) / query_tile;
  for (int64_t unit = first; unit < group * tiles; unit += step) {
    const int64_t begin = (tiles - 1 - unit / group) * query_tile;
    RunQueryTile(key_head, kv_head * group + unit % group, begin,
                 Least(query_tile, shape.queries - begin));
  }
}

}  // namespace

void Forward(const ForwardArgs& args, const VariantOps& ops) {
  const Shape& shape = args.shape;
  // Small tiles waste less of a short causal triangle.
  const int64_t query_tile = shape.queries <= 2 * kQueryTile ? kQueryTile / 2 : kQueryTile;
  const int64_t units =
      shape.heads / shape.kv_heads * ((shape.queries + query_tile - 1) / query_tile);
  const int64_t key_heads = shape.batch * shape.kv_heads;
  if (key_heads == 0 || units == 0) return;
  // Eight items a lane even out their lengths; fewer items pack the keys fewer times.
  const int64_t step = Least(units, (8 * LaneCount() + key_heads - 1) / key_heads);
  ForEachItem(static_cast<int>(key_heads * step), [&](int item) {
    const int64_t key_head = item / step;
    RunKeyHead(args, ops, key_head / shape.kv_heads, key_head % shape.kv_heads, query_tile,
               item % step, step);
  });
}

}  // namespace attnlab::ATTNLAB_ISA
