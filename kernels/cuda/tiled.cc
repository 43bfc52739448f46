#include "kernels/cuda/tiled.h"

#include <algorithm>

#include "kernels/weighting_info.h"

namespace attnlab::cuda {
namespace {

constexpr int kElementBytes = 2;

// Places in the workspace, in bytes from its start, each a multiple of 256.
struct Workspace {
  int64_t statistics = 0;
  int64_t maps = 0;
  int64_t learned = 0;
  int64_t query_sums = 0;
  int64_t turns = 0;
  int64_t taken = 0;
  int64_t bytes = 0;
  int padded;
  int query_tiles;
};

Workspace PlacesOf(const BackwardArgs& args, int query_tile, bool sums) {
  const Shape& shape = args.shape;
  const WeightingInfo& info = Weightings()[args.weighting];
  const auto learned = static_cast<int64_t>(info.learned.size());
  Workspace places;
  places.padded = static_cast<int>(CeilDiv(shape.queries, 128) * 128);
  places.query_tiles = static_cast<int>(CeilDiv(shape.queries, query_tile));
  const int64_t rows = shape.batch * shape.heads * places.padded;
  const auto take = [&](int64_t bytes) {
    const int64_t place = places.bytes;
    places.bytes += CeilDiv(bytes, 256) * 256;
    return place;
  };
  places.statistics = take(rows * static_cast<int64_t>(sizeof(RowStatistic)));
  places.maps = take(info.maps_scores ? rows * static_cast<int64_t>(sizeof(RowMap)) : 0);
  places.learned = take(static_cast<int64_t>(sizeof(double)) * learned * shape.batch * shape.heads *
                        places.query_tiles);
  places.taken = take(sizeof(int));
  if (sums) {
    const int64_t tiles = shape.batch * shape.heads * places.query_tiles;
    places.query_sums =
        take(static_cast<int64_t>(sizeof(float)) * tiles * query_tile * shape.head_dim);
    places.turns = take(static_cast<int64_t>(sizeof(int)) * tiles);
  }
  return places;
}

}  // namespace

bool TiledTakes(const Problem& problem) {
  const Shape& shape = problem.shape;
  constexpr int64_t kMost = int64_t{1} << 30;
  constexpr int64_t kMostBlocks = 65535;  // of a grid's second and third dimension
  return problem.dtype != DType::kFloat32 && shape.head_dim == shape.value_dim &&
         problem.scale > 0.0f && shape.queries > 0 && shape.queries < kMost && shape.keys > 0 &&
         shape.keys < kMost && shape.batch > 0 && shape.batch <= kMostBlocks &&
         shape.heads <= kMostBlocks &&
         shape.batch * shape.heads * CeilDiv(std::max(shape.queries, shape.keys), 64) < kMost &&
         Aligned(problem.q) && Aligned(problem.k) && Aligned(problem.v);
}

Schedule ScheduleOf(int64_t tiles, int64_t batch, int64_t heads, int64_t head_elements,
                    int64_t sharing, const DeviceInfo& device) {
  const int64_t all = batch * heads;
  const int64_t fit =
      std::max<int64_t>(1, device.l2_bytes / 2 / (head_elements * kElementBytes)) * sharing;
  // Sections of one size: the rest of a few heads at the end would keep few blocks busy.
  const int64_t fewest = CeilDiv(all, fit);
  int64_t sections = fewest;
  while (all % sections != 0 && sections < 2 * fewest) ++sections;
  const int64_t section = CeilDiv(all, all % sections == 0 ? sections : fewest);
  return {static_cast<unsigned>(tiles),
          static_cast<unsigned>(heads),
          static_cast<unsigned>(all),
          static_cast<unsigned>(section),
          static_cast<unsigned>(section * tiles),
          static_cast<int>(all * tiles)};
}

BackwardParams BackwardParamsOf(const BackwardArgs& args, int query_tile, bool sums) {
  const Workspace places = PlacesOf(args, query_tile, sums);
  char* workspace = static_cast<char*>(args.workspace);
  return {.args = args,
          .schedule = {},
          .taken = reinterpret_cast<int*>(workspace + places.taken),
          .statistics = reinterpret_cast<RowStatistic*>(workspace + places.statistics),
          .maps = reinterpret_cast<RowMap*>(workspace + places.maps),
          .learned = reinterpret_cast<double*>(workspace + places.learned),
          .padded = places.padded,
          .query_tile = query_tile,
          .query_tiles = places.query_tiles,
          .query_sums = sums ? reinterpret_cast<float*>(workspace + places.query_sums) : nullptr,
          .turns = sums ? reinterpret_cast<int*>(workspace + places.turns) : nullptr};
}

int64_t BackwardWorkspace(const BackwardArgs& args, int query_tile, bool sums) {
  return PlacesOf(args, query_tile, sums).bytes;
}

std::string RunStatistics(const Instance& instance, const BackwardParams& params) {
  const Shape& shape = params.args.shape;
  const int64_t rows = 256 / (shape.head_dim / 8);  // of a block
  return Run(params.args, instance, "RowStatistics",
             {{static_cast<unsigned>(params.padded / rows), static_cast<unsigned>(shape.heads),
               static_cast<unsigned>(shape.batch)},
              256},
             &params);
}

std::string RunSumLearned(const Instance& instance, const BackwardParams& params) {
  const auto learned = static_cast<unsigned>(Weightings()[params.args.weighting].learned.size());
  if (learned == 0) return "";
  return Run(params.args, instance, "SumLearned",
             {{static_cast<unsigned>(params.args.shape.heads), learned, 1}, 32}, &params);
}

}  // namespace attnlab::cuda
