// Decode: few queries on many keys (Flash-Decoding, Dao et al. 2023), for sm_80 and later. The keys
// of a key head are cut into ranges, one block each, and each warp of a block streams tiles of 16
// keys of its range through its own shared memory, with no barrier among warps. The query rows of
// all heads that share the keys are multiplied at once, kRows of them: K and V are read once. Each
// block leaves a row state for each row (kernels/row_state.h), and a second kernel merges them.
//
// Products are transposed, S^T = K Q^T and O^T = V^T W^T, since m16n8k16 takes few rows with least
// waste on its narrow side. A lane then holds the same rows of S^T and of O^T, and only the weights
// change places (Transpose).
//
// Where values of weight 0 are not read (kSkip), a tile's values are asked for when its weights are
// known, and meet them kStages tiles later.
//
// Macros beside those of rows.cuh: ATTNLAB_HEAD_DIM, ATTNLAB_WARPS, ATTNLAB_STAGES (tiles in
// flight, a power of 2), ATTNLAB_ROWS (1, or a multiple of 8), ATTNLAB_BLOCKS (at least, a
// multiprocessor).
#include "kernels/cuda/device/decode_merge.cuh"

namespace attnlab::decode {

inline constexpr int kWarps = ATTNLAB_WARPS;
inline constexpr int kStages = ATTNLAB_STAGES;
inline constexpr int kRows = ATTNLAB_ROWS;
inline constexpr int kThreads = 32 * kWarps;
inline constexpr int kColumns = (kRows + 7) / 8;  // products of 8 rows
inline constexpr int kHeld = kRows == 1 ? 1 : 2;  // rows of a product that a lane holds
inline constexpr int kRowBytes = kDim * sizeof(Element);
inline constexpr int kTileBytes = kTile * kRowBytes;
inline constexpr int kLag = kSkip ? kStages : 0;  // tiles from weights to values

// What a block knows of a query row.
struct RowInfo {
  RowLimits limits;
  ScoreMap map;
  float floor;
};

// A lane's weights of a tile, as MultiplyAdd takes them, and what older sums are to be multiplied
// with. A weight is the sum of two elements, which is off by 2^-17 of it (2^-22 for float16).
struct Step {
  uint32_t weights[kColumns][2];
  uint32_t rests[kColumns][2];
  float keep[kColumns][kHeld];
};

// Rows of tiles are chunks of 16 bytes, chunk c of row r at place c ^ (r % 8). Once all keys are
// absorbed a warp's tiles hold its sums [kRows, kDim].
struct alignas(128) Storage {
  char tiles[kWarps][2][kStages][kTileBytes];  // keys, values
  RowInfo rows[kRows];
  float shift[kWarps][kRows];
  float mass[kWarps][kRows];

  // Weights that wait for their values stand behind.
  __device__ __forceinline__ Step& Waiting(int warp, int stage, int lane) {
    return reinterpret_cast<Step*>(this + 1)[(warp * kStages + stage) * 32 + lane];
  }
};
static_assert(sizeof(Storage) + kWarps * kLag * 32 * sizeof(Step) ==
              SharedBytes(kDim, kWarps, kStages, kRows, kSkip));
static_assert(sizeof(float) * kRows * kDim <= 2 * kStages * kTileBytes);

// A tile and where its first key lies: in which sequence or page, at which row of it.
struct TilePlace {
  int tile;
  int batch;
  int row;
};

// One warp while it absorbs tiles first, first + kWarps, ... of the list of tiles. A lane holds
// keys lane / 4 and + 8 of a tile and rows 2 (lane % 4) and the next one of each 8.
struct Warp {
  const DecodeParams& params;
  Storage& storage;
  const Variant variant;
  const Sequence sequence;
  const KeyTiles<kTile> tiles;
  const int batch, kv_head, first_row;
  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
  const uint32_t shared;  // address of this warp's tiles
  const int full_end;     // keys before it are early enough for all queries
  int first, count;       // of this warp's tiles
  int copied = 0;         // of them, or under way
  TilePlace next;         // of tile `copied`
  uint32_t q[kColumns][kDim / 16][2];
  float o[kDim / 16][kColumns][4];
  float shift[kColumns][kHeld];
  float mass[kColumns][kHeld];  // this lane's keys only
  int skipped = 0;              // keys whose values were not read

  __device__ __forceinline__ Warp(const DecodeParams& params, Storage& storage, int batch,
                                  int kv_head, int first_row)
      : params(params),
        storage(storage),
        variant(WithConstants<Variant>(params.args.constants)),
        sequence(params.args, batch),
        tiles(sequence.mask, 0, static_cast<int>(params.args.shape.queries) - 1, sequence.keys),
        batch(batch),
        kv_head(kv_head),
        first_row(first_row),
        shared(SharedAddress(storage.tiles[threadIdx.x / 32])),
        full_end(LimitsOf(sequence.mask, 0, 1, sequence.keys).end) {
    const int64_t all = tiles.Count();
    const int begin = static_cast<int>(all * blockIdx.y / params.ranges);
    const int end = static_cast<int>(all * (blockIdx.y + 1) / params.ranges);
    first = begin + warp;
    count = max(0, (end - first + kWarps - 1) / kWarps);
    next = PlaceOf(0);
  }

  __device__ __forceinline__ int Tile(int i) const { return tiles.Tile(first + i * kWarps); }
  __device__ __forceinline__ int LastRow() const { return params.rows - 1; }
  __device__ __forceinline__ int HeldRow(int t, int j) const {
    return kRows == 1 ? 0 : 8 * t + lane % 4 * 2 + j;
  }
  __device__ __forceinline__ uint32_t Keys(int i) const {
    return shared + i % kStages * kTileBytes;
  }
  __device__ __forceinline__ uint32_t Values(int i) const {
    return shared + (kStages + i % kStages) * kTileBytes;
  }

  // --- copies ---

  __device__ __forceinline__ TilePlace PlaceOf(int i) const {
    if (i >= count) return {0, 0, 0};
    const int tile = Tile(i);
    const KeyCache& cache = params.args.cache;
    if (cache.block_table == nullptr) return {tile, batch, tile * kTile};
    const int per_page = static_cast<int>(cache.page_size / kTile);
    const int block = tile / per_page;
    const int page = __ldg(cache.block_table + batch * cache.blocks_per_sequence + block);
    return {tile, page, (tile - block * per_page) * kTile};
  }

  // Bit r: the sequence has key r of the tile.
  __device__ __forceinline__ uint32_t Present(int tile) const {
    return (1u << min(kTile, sequence.keys - tile * kTile)) - 1;
  }

  __device__ __forceinline__ void Copy(uint32_t to, const Operand& operand, const TilePlace& place,
                                       uint32_t wanted) const {
    constexpr int kChunks = kRowBytes / 16;
    constexpr int kStep = 32 / kChunks;  // rows that the warp copies at once
    const int64_t row_bytes = operand.row_stride * sizeof(Element);
    const char* from = static_cast<const char*>(operand.data) +
                       (place.batch * operand.batch_stride + kv_head * operand.head_stride) *
                           static_cast<int64_t>(sizeof(Element)) +
                       (place.row + lane / kChunks) * row_bytes + lane % kChunks * 16;
#pragma unroll
    for (int i = 0; i < kTile / kStep; ++i) {
      const int r = i * kStep + lane / kChunks;
      CopyAsync(to + r * kRowBytes + ((lane % kChunks) ^ (r % 8)) * 16, from, wanted >> r & 1);
      from += kStep * row_bytes;
    }
  }

  // The keys of the next tile, and its values unless they wait for their weights.
  __device__ __forceinline__ void CopyNext() {
    if (copied >= count) return;
    const uint32_t present = Present(next.tile);
    Copy(Keys(copied), params.args.k, next, present);
    if (!kSkip) Copy(Values(copied), params.args.v, next, present);
    next = PlaceOf(++copied);
  }

  // --- rows ---

  __device__ __forceinline__ void DescribeRows() {
    const int start = kDocuments ? warp : threadIdx.x;
    for (int r = start; r < kRows; r += kDocuments ? kWarps : kThreads) {
      const RowPlace place(params.args.shape, kv_head, min(first_row + r, LastRow()));
      const Row<float> row = DescribeRow(params.args, sequence, place, lane);
      RowInfo info;
      info.limits = LimitsOf(sequence.mask, place.query, place.query + 1, sequence.keys);
      info.map = ScoreMapOf(params.args, variant, row);
      info.floor = kShifted ? variant.Floor(row) : 0.0f;
      storage.rows[r] = info;
    }
  }

  // Rows beyond the last are copies of it.
  __device__ __forceinline__ void LoadQueries() {
    const Operand& operand = params.args.q;
#pragma unroll
    for (int t = 0; t < kColumns; ++t) {
      const RowPlace place(params.args.shape, kv_head,
                           min(first_row + 8 * t + lane / 4, LastRow()));
      const char* from = static_cast<const char*>(operand.data) +
                         (batch * operand.batch_stride + place.head * operand.head_stride +
                          place.query * operand.row_stride) *
                             static_cast<int64_t>(sizeof(Element)) +
                         lane % 4 * 4;
#pragma unroll
      for (int k = 0; k < kDim / 16; ++k) {
        q[t][k][0] = __ldg(reinterpret_cast<const uint32_t*>(from + k * 32));
        q[t][k][1] = __ldg(reinterpret_cast<const uint32_t*>(from + k * 32 + 16));
      }
    }
  }

  __device__ __forceinline__ void Begin() {
#pragma unroll
    for (int t = 0; t < kColumns; ++t) {
#pragma unroll
      for (int j = 0; j < kHeld; ++j) {
        shift[t][j] = storage.rows[HeldRow(t, j)].floor;
        mass[t][j] = 0.0f;
      }
#pragma unroll
      for (int m = 0; m < kDim / 16; ++m) {
        o[m][t][0] = o[m][t][1] = o[m][t][2] = o[m][t][3] = 0.0f;
      }
    }
  }

  // --- tiles ---

  __device__ __forceinline__ void Score(uint32_t keys, float (&s)[kColumns][4]) const {
    const uint32_t row = keys + lane % 16 * kRowBytes;
#pragma unroll
    for (int k = 0; k < kDim / 16; ++k) {
      uint32_t a[4];
      LoadMatrices(a, row + ((2 * k + lane / 16) ^ (lane % 8)) * 16);
#pragma unroll
      for (int t = 0; t < kColumns; ++t) MultiplyAdd<Element>(s[t], a, q[t][k]);
    }
  }

  // Raw scores x of keys `key` and `key` + 8 and row j of column t to weights, in place.
  template <bool kPartial>
  __device__ __forceinline__ void WeighRow(int key, int t, int j, float (&x)[2], Step& step) {
    const RowInfo& row = storage.rows[HeldRow(t, j)];
    bool sees[2] = {true, true};
    float top = kNoFloor;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      if (kPartial) sees[h] = row.limits.Sees(key + 8 * h, 0, sequence.mask.key_documents);
      x[h] = kMapped ? fmaf(x[h], row.map.gain, fmaf(row.map.slope, key + 8 * h, row.map.offset))
                     : x[h] * params.args.scale;
      if (sees[h]) top = fmaxf(top, x[h]);
    }
    step.keep[t][j] = 1.0f;
    if (kShifted) {
      top = fmaxf(top, __shfl_xor_sync(kAll, top, 4));
      top = fmaxf(top, __shfl_xor_sync(kAll, top, 8));
      top = fmaxf(top, __shfl_xor_sync(kAll, top, 16));
      const float higher = fmaxf(shift[t][j], top);
      step.keep[t][j] = Exp2((shift[t][j] - higher) * kLog2E);
      shift[t][j] = higher;
      mass[t][j] *= step.keep[t][j];
    }
    const Shift m(shift[t][j]);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const Weights<Number> weights = variant.Weigh(Number(x[h]), m);
      x[h] = sees[h] ? weights.weight.Value() : 0.0f;
      mass[t][j] += sees[h] ? weights.mass.Value() : 0.0f;
    }
  }

  // Scores s of a tile to its weights. Bit r: some weight of key r is not 0.
  template <bool kPartial>
  __device__ __forceinline__ uint32_t Weigh(const float (&s)[kColumns][4], int tile, Step& step) {
    bool any[2] = {false, false};
#pragma unroll
    for (int t = 0; t < kColumns; ++t) {
      float w[2][2] = {};
#pragma unroll
      for (int j = 0; j < kHeld; ++j) {
        w[j][0] = s[t][j];
        w[j][1] = s[t][2 + j];
        WeighRow<kPartial>(tile * kTile + lane / 4, t, j, w[j], step);
      }
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const uint32_t pair = Pack<Element>(w[0][h], w[1][h]);
        any[h] = any[h] || pair != 0;
        const uint32_t rest =
            Pack<Element>(w[0][h] - Low<Element>(pair), w[1][h] - High<Element>(pair));
        step.weights[t][h] = Transpose(pair);
        step.rests[t][h] = Transpose(rest);
      }
    }
    if (!kSkip) return 0;
    // Four lanes hold a key.
    const uint32_t low = __ballot_sync(kAll, any[0]), high = __ballot_sync(kAll, any[1]);
    const uint32_t own = (lane < 8 ? low : high) >> lane % 8 * 4 & 15;
    return __ballot_sync(kAll, lane < kTile && own != 0);
  }

  __device__ __forceinline__ void Absorb(const Step& step, uint32_t values) {
    bool same = true;
#pragma unroll
    for (int t = 0; t < kColumns; ++t) {
#pragma unroll
      for (int j = 0; j < kHeld; ++j) same = same && step.keep[t][j] == 1.0f;
    }
    if (kShifted && !__all_sync(kAll, same)) {
#pragma unroll
      for (int m = 0; m < kDim / 16; ++m) {
#pragma unroll
        for (int t = 0; t < kColumns; ++t) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            if (i % 2 < kHeld) o[m][t][i] *= step.keep[t][i % 2 < kHeld ? i % 2 : 0];
          }
        }
      }
    }
    const uint32_t row = values + (lane % 8 + lane / 16 * 8) * kRowBytes;
#pragma unroll
    for (int m = 0; m < kDim / 16; ++m) {
      uint32_t a[4];
      LoadTransposed(a, row + ((2 * m + lane / 8 % 2) ^ (lane % 8)) * 16);
#pragma unroll
      for (int t = 0; t < kColumns; ++t) {
        MultiplyAdd<Element>(o[m][t], a, step.rests[t]);
        MultiplyAdd<Element>(o[m][t], a, step.weights[t]);
      }
    }
  }

  __device__ __forceinline__ uint32_t WeighTile(int i, Step& step) {
    const int tile = Tile(i);
    float s[kColumns][4] = {};
    Score(Keys(i), s);
    return tiles.Partial(tile, full_end) ? Weigh<true>(s, tile, step) : Weigh<false>(s, tile, step);
  }

  // Group g of copies, counted from 0, holds the keys of tile g and the values of tile g - kLag.
  __device__ __forceinline__ void AbsorbTiles() {
#pragma unroll 1
    for (int i = 0; i < count + kLag; ++i) {
      WaitCopies<kStages - 1>();
      __syncwarp();
      Step step;
      uint32_t used = 0;
      if (i < count) used = WeighTile(i, step);
      if constexpr (kSkip) {
        Step& waiting = storage.Waiting(warp, i % kStages, lane);
        if (i >= kLag) Absorb(waiting, Values(i));
        if (i < count) waiting = step;
      } else {
        Absorb(step, Values(i));
      }
      __syncwarp();
      if (kSkip && i < count) {
        const TilePlace place = PlaceOf(i);
        Copy(Values(i), params.args.v, place, used);
        skipped += __popc(Present(place.tile) & ~used);
      }
      CopyNext();
      CommitCopies();
    }
  }

  // Leaves shift, mass and sums in shared memory.
  __device__ __forceinline__ void Leave() {
    float* sums = reinterpret_cast<float*>(storage.tiles[warp]);
#pragma unroll
    for (int t = 0; t < kColumns; ++t) {
#pragma unroll
      for (int j = 0; j < kHeld; ++j) {
        float sum = mass[t][j];
        sum += __shfl_xor_sync(kAll, sum, 4);
        sum += __shfl_xor_sync(kAll, sum, 8);
        sum += __shfl_xor_sync(kAll, sum, 16);
        if (kRows == 1 && lane % 4 != 0) continue;
        const int r = HeldRow(t, j);
        if (lane / 4 == 0) {
          storage.shift[warp][r] = shift[t][j];
          storage.mass[warp][r] = sum;
        }
#pragma unroll
        for (int m = 0; m < kDim / 16; ++m) {
          sums[r * kDim + m * 16 + lane / 4] = o[m][t][j];
          sums[r * kDim + m * 16 + lane / 4 + 8] = o[m][t][2 + j];
        }
      }
    }
  }

  __device__ __forceinline__ void CountSkipped() const {
    if (!kSkip || params.args.tile_counts == nullptr) return;
    int seen = 0;
    for (int i = lane; i < count; i += 32) seen += __popc(Present(Tile(i)));
    seen = __reduce_add_sync(kAll, seen);
    if (lane != 0) return;
    auto* counts = reinterpret_cast<unsigned long long*>(params.args.tile_counts);
    atomicAdd(counts, static_cast<unsigned long long>(seen));
    atomicAdd(counts + 1, static_cast<unsigned long long>(skipped));
  }
};

// Merges the warps' states in their order and writes the block's.
__device__ __forceinline__ void WriteStates(const DecodeParams& params, const Storage& storage,
                                            int key_head, int first_row) {
  const int rows = min(kRows, params.rows - first_row);
  for (int i = threadIdx.x; i < rows * kDim; i += kThreads) {
    const int r = i / kDim;
    float shift = storage.shift[0][r], mass = 0.0f, sum = 0.0f;
#pragma unroll
    for (int w = 1; w < kWarps; ++w) shift = fmaxf(shift, storage.shift[w][r]);
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      const float take = kShifted ? Exp(storage.shift[w][r] - shift) : 1.0f;
      mass += storage.mass[w][r] * take;
      sum += reinterpret_cast<const float*>(storage.tiles[w])[i] * take;
    }
    const int64_t row = static_cast<int64_t>(key_head) * params.rows + first_row + r;
    const int64_t place = row * params.ranges + blockIdx.y;
    params.sums[place * kDim + i % kDim] = sum;
    if (i % kDim == 0) params.states[place] = {shift, mass};
  }
}

}  // namespace attnlab::decode

// Grid (key heads * row tiles, ranges, batch).
extern "C" __global__ void __launch_bounds__(attnlab::decode::kThreads, ATTNLAB_BLOCKS)
    DecodeRanges(const __grid_constant__ attnlab::decode::DecodeParams params) {
  using namespace attnlab::decode;
  extern __shared__ __align__(128) char raw[];
  Storage& storage = *reinterpret_cast<Storage*>(raw);
  const int batch = blockIdx.z;
  const int kv_head = blockIdx.x / params.row_tiles;
  const int first_row = blockIdx.x % params.row_tiles * kRows;
  Warp warp(params, storage, batch, kv_head, first_row);
#pragma unroll 1
  for (int i = 0; i < kStages; ++i) {
    warp.CopyNext();
    CommitCopies();
  }
  warp.DescribeRows();
  warp.LoadQueries();
  __syncthreads();
  warp.Begin();
  warp.AbsorbTiles();
  LetNextKernelStart();
  warp.Leave();
  warp.CountSkipped();
  __syncthreads();
  const int kv_heads = static_cast<int>(params.args.shape.kv_heads);
  WriteStates(params, storage, batch * kv_heads + kv_head, first_row);
}
