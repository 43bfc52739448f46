#include "kernels/cuda/mma.h"

#include "kernels/cuda/device/mma_params.h"
#include "kernels/cuda/instances.h"
#include "kernels/cuda/tiled.h"

namespace attnlab::cuda {
namespace {

// Warps of a block, blocks of 16 rows that each holds, rows of the tiles that pass by, whether the
// rows held stay in registers, blocks of threads on a multiprocessor (device/mma_tiles.cuh).
struct Tiles {
  int warps;
  int blocks;
  int rows;
  int held;
  int resident;

  int Own() const { return 16 * warps * blocks; }
};

// Devices whose blocks may use 99 KiB of shared memory; the others have 163 KiB at least.
bool HasSmallSharedMemory(int arch) { return arch == 86 || arch == 89 || arch >= 120; }

Tiles TilesOf(MmaKernel kernel, int64_t dim, int arch) {
  const bool small = HasSmallSharedMemory(arch);
  switch (kernel) {
    case MmaKernel::kForward:
      if (dim == 256) return {4, 1, 32, 0, 2};
      return dim == 64 ? Tiles{4, 2, 64, 1, 2} : Tiles{4, 2, 64, 0, 2};
    case MmaKernel::kKeys:
      if (dim == 128 && small) return {4, 1, 64, 0, 1};
      return dim == 64 ? Tiles{8, 1, 64, 1, 1} : Tiles{8, 1, 64, 0, 1};
    case MmaKernel::kQueries:
      if (dim == 128 && small) return {4, 1, 32, 1, 1};
      return dim == 64 ? Tiles{4, 2, 32, 1, 2} : Tiles{8, 1, 64, 1, 1};
    case MmaKernel::kStatistics:
      break;
  }
  return {8, 1, 64, 0, 1};
}

const char* FileOf(MmaKernel kernel) {
  switch (kernel) {
    case MmaKernel::kForward:
      return "mma_forward.cuh";
    case MmaKernel::kKeys:
      return "mma_keys.cuh";
    case MmaKernel::kQueries:
      return "mma_queries.cuh";
    case MmaKernel::kStatistics:
      return "statistics.cuh";
  }
  return "";
}

// One block for each piece of work; `own` tiles of the block's own rows stay in shared memory,
// beside 3 KiB for numbers of rows.
Launch LaunchOf(const Schedule& schedule, const Tiles& tiles, int64_t dim, int own) {
  const int64_t rows = own * tiles.Own() + int64_t{4} * tiles.rows;
  return {{static_cast<unsigned>(schedule.count), 1, 1},
          static_cast<unsigned>(32 * tiles.warps),
          static_cast<int>(2 * dim * rows) + 3072};
}

}  // namespace

bool MmaTakesForward(const Problem& problem, int arch) {
  return MmaTakesBackward(problem, arch) ||
         (arch >= 80 && problem.shape.head_dim == 256 && TiledTakes(problem));
}

bool MmaTakesBackward(const Problem& problem, int arch) {
  const int64_t dim = problem.shape.head_dim;
  return arch >= 80 && (dim == 64 || dim == 128) && TiledTakes(problem);
}

Instance MmaInstance(const Problem& problem, MmaKernel kernel, int arch) {
  const Tiles tiles = TilesOf(kernel, problem.shape.head_dim, arch);
  Instance instance = InstanceFor(problem, FileOf(kernel), arch);
  const auto add = [&](const char* name, int64_t value) {
    instance.macros.emplace_back(name, std::to_string(value));
  };
  add("ATTNLAB_HEAD_DIM", problem.shape.head_dim);
  add("ATTNLAB_WARPS", tiles.warps);
  add("ATTNLAB_BLOCKS", tiles.blocks);
  add("ATTNLAB_TILE", tiles.rows);
  add("ATTNLAB_HELD", tiles.held);
  add("ATTNLAB_RESIDENT", tiles.resident);
  return instance;
}

std::string MmaForward(const ForwardArgs& args, const DeviceInfo& device) {
  const Shape& shape = args.shape;
  const Tiles tiles = TilesOf(MmaKernel::kForward, shape.head_dim, device.arch);
  const mma::ForwardParams params = {
      args, ScheduleOf(CeilDiv(shape.queries, tiles.Own()), shape.batch, shape.heads,
                       2 * shape.keys * shape.head_dim, shape.heads / shape.kv_heads, device)};
  return Run(args, MmaInstance(args, MmaKernel::kForward, device.arch), "MmaForward",
             LaunchOf(params.schedule, tiles, shape.head_dim, 1), &params);
}

int64_t MmaWorkspace(const BackwardArgs& args, const DeviceInfo& device) {
  return BackwardWorkspace(args,
                           TilesOf(MmaKernel::kQueries, args.shape.head_dim, device.arch).Own());
}

std::string MmaBackward(const BackwardArgs& args, const DeviceInfo& device) {
  const Shape& shape = args.shape;
  const int64_t dim = shape.head_dim, sharing = shape.heads / shape.kv_heads;
  const Tiles keys = TilesOf(MmaKernel::kKeys, dim, device.arch);
  const Tiles queries = TilesOf(MmaKernel::kQueries, dim, device.arch);
  BackwardParams params = BackwardParamsOf(args, queries.Own());
  std::string error = RunStatistics(MmaInstance(args, MmaKernel::kStatistics, device.arch), params);
  if (!error.empty()) return error;

  params.schedule = ScheduleOf(CeilDiv(shape.keys, keys.Own()), shape.batch, shape.kv_heads,
                               2 * shape.queries * dim * sharing, 1, device);
  error = Run(args, MmaInstance(args, MmaKernel::kKeys, device.arch), "MmaKeys",
              LaunchOf(params.schedule, keys, dim, 2), &params);
  if (!error.empty()) return error;

  params.schedule = ScheduleOf(params.query_tiles, shape.batch, shape.heads, 2 * shape.keys * dim,
                               sharing, device);
  const Instance instance = MmaInstance(args, MmaKernel::kQueries, device.arch);
  error = Run(args, instance, "MmaQueries", LaunchOf(params.schedule, queries, dim, 2), &params);
  if (!error.empty()) return error;
  return RunSumLearned(instance, params);
}

}  // namespace attnlab::cuda
