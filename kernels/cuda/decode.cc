#include "kernels/cuda/decode.h"

#include <algorithm>
#include <cstdint>

#include "kernels/cuda/device/decode_params.h"
#include "kernels/cuda/instances.h"
#include "kernels/cuda/tiled.h"
#include "kernels/weighting_info.h"

namespace attnlab::cuda {
namespace {

constexpr int64_t kMostQueries = 64;
constexpr int64_t kLeastTiles = 2;  // of a warp, or its range is not worth a state

// Query rows that share the keys of a key head.
int64_t RowsOf(const Shape& shape) { return shape.heads / shape.kv_heads * shape.queries; }

bool HasExactZeros(const Problem& problem) {
  return Weightings()[problem.weighting].traits.exact_zeros;
}

// A block: its warps, tiles in flight of each, query rows, and how many a multiprocessor holds.
struct Block {
  int warps;
  int stages;
  int rows;
  int blocks;
};

// The same whether or not values of weight 0 are skipped, as are the ranges below: so are the bits.
Block BlockOf(const Problem& problem) {
  const int dim = static_cast<int>(problem.shape.head_dim);
  const int64_t rows = RowsOf(problem.shape);
  Block block = {dim == 256 ? 2 : 4, dim == 64 ? 4 : 2, 1, 3};
  if (rows > 1) block.rows = rows <= 8 ? 8 : rows <= 16 || dim == 256 ? 16 : 32;
  if (block.rows == 32) {
    block.blocks = 2;                              // for registers
    if (HasExactZeros(problem)) block.stages = 2;  // for the weights that wait
  }
  return block;
}

int SharedBytesOf(const Problem& problem, const Block& block, bool skips) {
  return decode::SharedBytes(static_cast<int>(problem.shape.head_dim), block.warps, block.stages,
                             block.rows, skips);
}

// Ranges of a sequence's keys: the fewest that keep the multiprocessors busy for nearly all of the
// time, as if blocks ran in rounds.
int RangesOf(const Problem& problem, const DeviceInfo& device) {
  const Shape& shape = problem.shape;
  const Block block = BlockOf(problem);
  int64_t tiles = CeilDiv(shape.keys, decode::kTile);
  if (problem.mask.window > 0) {
    const int64_t recent = CeilDiv(problem.mask.window + shape.queries, decode::kTile) + 1;
    tiles = std::min(tiles, recent + CeilDiv(problem.mask.first_kept, decode::kTile));
  }
  constexpr int kReserved = 1024;  // bytes of shared memory that each block takes for itself
  const int fitting = (device.shared_bytes + kReserved) /
                      (SharedBytesOf(problem, block, HasExactZeros(problem)) + kReserved);
  const int64_t slots =
      int64_t{device.multiprocessors} * std::max(1, std::min(fitting, block.blocks));
  const int64_t heads = shape.batch * shape.kv_heads * CeilDiv(RowsOf(shape), block.rows);
  const int64_t most =
      std::clamp<int64_t>(tiles / (block.warps * kLeastTiles), 1, decode::kMostRanges);
  const auto busy = [&](int64_t ranges) {
    const int64_t blocks = heads * ranges;
    return static_cast<double>(blocks) / static_cast<double>(CeilDiv(blocks, slots) * slots);
  };
  double best = 0.0;
  for (int64_t ranges = 1; ranges <= most; ++ranges) best = std::max(best, busy(ranges));
  int64_t ranges = 1;
  while (busy(ranges) < 0.95 * best) ++ranges;
  return static_cast<int>(ranges);
}

int64_t StateBytes(const Shape& shape, int ranges) {
  const int64_t states = shape.batch * shape.kv_heads * RowsOf(shape) * ranges;
  return CeilDiv(states * static_cast<int64_t>(sizeof(decode::RangeState)), 256) * 256;
}

}  // namespace

bool DecodeTakes(const Problem& problem, int arch) {
  const Shape& shape = problem.shape;
  constexpr int64_t kMost = int64_t{1} << 30;
  constexpr int64_t kMostBlocks = 65535;  // of a grid's second and third dimension
  return arch >= 80 && problem.dtype != DType::kFloat32 && shape.head_dim == shape.value_dim &&
         (shape.head_dim == 64 || shape.head_dim == 128 || shape.head_dim == 256) &&
         shape.queries <= kMostQueries && shape.keys < kMost && shape.batch <= kMostBlocks &&
         shape.heads * shape.queries < kMost && Aligned(problem.q) && Aligned(problem.k) &&
         Aligned(problem.v);
}

Instance DecodeInstance(const Problem& problem, int arch) {
  const Block block = BlockOf(problem);
  Instance instance = InstanceFor(problem, "decode.cuh", arch);
  const auto add = [&](const char* name, int64_t value) {
    instance.macros.emplace_back(name, std::to_string(value));
  };
  add("ATTNLAB_HEAD_DIM", problem.shape.head_dim);
  add("ATTNLAB_WARPS", block.warps);
  add("ATTNLAB_STAGES", block.stages);
  add("ATTNLAB_ROWS", block.rows);
  add("ATTNLAB_BLOCKS", block.blocks);
  return instance;
}

int64_t DecodeWorkspace(const ForwardArgs& args, const DeviceInfo& device) {
  const Shape& shape = args.shape;
  const int ranges = RangesOf(args, device);
  return StateBytes(shape, ranges) + shape.batch * shape.kv_heads * RowsOf(shape) * ranges *
                                         shape.head_dim * static_cast<int64_t>(sizeof(float));
}

std::string RunDecode(const ForwardArgs& args, const DeviceInfo& device) {
  const Shape& shape = args.shape;
  if (shape.batch == 0 || shape.queries == 0) return "";
  const Block block = BlockOf(args);
  decode::DecodeParams params;
  params.args = args;
  params.rows = static_cast<int>(RowsOf(shape));
  params.row_tiles = static_cast<int>(CeilDiv(params.rows, block.rows));
  params.ranges = RangesOf(args, device);
  char* workspace = static_cast<char*>(args.workspace);
  params.states = reinterpret_cast<decode::RangeState*>(workspace);
  params.sums = reinterpret_cast<float*>(workspace + StateBytes(shape, params.ranges));

  const Instance instance = DecodeInstance(args, device.arch);
  const auto kv_heads = static_cast<unsigned>(shape.kv_heads);
  const auto batch = static_cast<unsigned>(shape.batch);
  Launch ranges = {{kv_heads * params.row_tiles, static_cast<unsigned>(params.ranges), batch},
                   32u * block.warps,
                   SharedBytesOf(args, block, Skips(args))};
  std::string error = Run(args, instance, "DecodeRanges", ranges, &params);
  if (!error.empty()) return error;
  Launch merge = {{kv_heads * params.rows, batch, 1}, decode::kMergeThreads};
  merge.starts_early = device.arch >= 90;
  return Run(args, instance, "DecodeMerge", merge, &params);
}

}  // namespace attnlab::cuda
