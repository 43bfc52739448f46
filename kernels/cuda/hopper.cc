#include "kernels/cuda/hopper.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "kernels/cuda/device/hopper_params.h"
#include "kernels/cuda/instances.h"
#include "kernels/cuda/tiled.h"
#include "kernels/weighting_info.h"

namespace attnlab::cuda {
namespace {

constexpr int kElementBytes = 2;

// Tiles of `rows` rows by 64 elements of a tensor [batch, heads, length, head dim], for the copy
// engine.
template <class AnyOperand>
std::string Encode(const Problem& problem, const AnyOperand& operand, int64_t heads, int64_t length,
                   int rows, hopper::TensorMap& map) {
  std::string error;
  const Driver* driver = GetDriver(error);
  if (driver == nullptr) return error;
  const auto type = problem.dtype == DType::kBFloat16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
                                                      : CU_TENSOR_MAP_DATA_TYPE_FLOAT16;
  const auto u = [](int64_t x) { return static_cast<cuuint64_t>(x); };
  // A stride that no second row, head or sequence uses may be anything that the driver accepts.
  const auto stride = [&](int64_t elements, int64_t count) {
    return u(count > 1 ? elements * kElementBytes : 16);
  };
  const cuuint64_t sizes[] = {u(problem.shape.head_dim), u(length), u(heads),
                              u(problem.shape.batch)};
  const cuuint64_t strides[] = {stride(operand.row_stride, length),
                                stride(operand.head_stride, heads),
                                stride(operand.batch_stride, problem.shape.batch)};
  const cuuint32_t box[] = {64, static_cast<cuuint32_t>(rows), 1, 1};
  const cuuint32_t steps[] = {1, 1, 1, 1};
  CUtensorMap encoded;
  static_assert(sizeof(encoded) == sizeof(map));
  error = Describe(
      "cuTensorMapEncodeTiled",
      driver->cuTensorMapEncodeTiled(
          &encoded, type, 4, const_cast<void*>(static_cast<const void*>(operand.data)), sizes,
          strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
          CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE));
  std::memcpy(&map, &encoded, sizeof(map));
  return error;
}

// `elements` of tiles in shared memory, beside barriers and alignment.
Launch LaunchOf(int blocks, int groups, int64_t elements, int extra_bytes = 0) {
  return {{static_cast<unsigned>(blocks), 1, 1},
          static_cast<unsigned>(128 * (groups + 1)),
          static_cast<int>(elements * kElementBytes) + extra_bytes + 2048};
}

enum class HopperKernel { kBounds, kForward, kStatistics, kBackward, kQueries };

// Warpgroups of 64 rows, rows of the tiles that pass by, and how many of these are in flight.
struct Tiles {
  int groups;
  int rows;
  int stages;
};

Tiles TilesOf(HopperKernel kernel, int64_t dim) {
  switch (kernel) {
    case HopperKernel::kForward:
      return dim == 64 ? Tiles{3, 128, 4} : Tiles{2, 128, 2};
    case HopperKernel::kBackward:
      return dim == 64 ? Tiles{2, 128, 2} : Tiles{2, 64, 2};
    case HopperKernel::kQueries:
      return dim == 64 ? Tiles{3, 64, 4} : Tiles{2, 128, 2};
    case HopperKernel::kStatistics:
    case HopperKernel::kBounds:
      break;
  }
  return {1, 64, 1};
}

const char* FileOf(HopperKernel kernel) {
  switch (kernel) {
    case HopperKernel::kForward:
      return "hopper_forward.cuh";
    case HopperKernel::kBackward:
      return "hopper_backward.cuh";
    case HopperKernel::kQueries:
      return "hopper_queries.cuh";
    case HopperKernel::kStatistics:
      return "statistics.cuh";
    case HopperKernel::kBounds:
      return "hopper_bounds.cuh";
  }
  return "";
}

bool Learns(const Problem& problem) { return !Weightings()[problem.weighting].learned.empty(); }

// Rows of the tiles by which the backward makes dQ.
int QueryTile(const Problem& problem) {
  const int64_t dim = problem.shape.head_dim;
  return Learns(problem) ? 64 * TilesOf(HopperKernel::kQueries, dim).groups
                         : TilesOf(HopperKernel::kBackward, dim).rows;
}

// The list of KeyBlocks (device/hopper_backward.cuh): pairs of a head's `tiles` blocks if all of
// them run at the same time.
Schedule KeySchedule(const Shape& shape, int64_t tiles, const DeviceInfo& device) {
  const int64_t pairs = CeilDiv(tiles, 2), all = shape.batch * shape.kv_heads;
  const int64_t a_head = pairs <= device.multiprocessors ? pairs : tiles;
  return {static_cast<unsigned>(tiles),  static_cast<unsigned>(shape.kv_heads),
          static_cast<unsigned>(all),    1,
          static_cast<unsigned>(a_head), static_cast<int>(all * a_head)};
}

// One block of threads a multiprocessor, or a few less, so that each has the same place in every
// head: it then waits for those before it once (TurnOf).
int KeyThreadBlocks(const Schedule& schedule, const DeviceInfo& device) {
  const int a_head = static_cast<int>(schedule.per_section), all = device.multiprocessors;
  const int whole_heads = all / a_head * a_head;
  return std::min(schedule.count, whole_heads >= all - all / 20 ? whole_heads : all);
}

// Whether the forward asks for bounds of scores (hopper_forward.cuh: kBounded).
bool Bounded(const Problem& problem) {
  const WeightingInfo& info = Weightings()[problem.weighting];
  return problem.skip_zero_tiles && info.maps_scores && info.traits.exact_zeros &&
         info.traits.massless;
}

// The forward's workspace begins with ForwardParams::taken.
constexpr int64_t kTakenBytes = 256;

int64_t QueryBoundBytes(const Shape& shape) {
  return CeilDiv(
             CeilDiv(shape.queries, 64) * shape.batch * shape.heads * sizeof(hopper::QueryBound),
             256) *
         256;
}

Instance HopperInstance(const Problem& problem, HopperKernel kernel) {
  const Tiles tiles = TilesOf(kernel, problem.shape.head_dim);
  Instance instance = InstanceFor(problem, FileOf(kernel), 90);
  const auto add = [&](const char* name, int64_t value) {
    instance.macros.emplace_back(name, std::to_string(value));
  };
  add("ATTNLAB_HEAD_DIM", problem.shape.head_dim);
  add("ATTNLAB_GROUPS", tiles.groups);
  add("ATTNLAB_TILE", tiles.rows);
  add("ATTNLAB_STAGES", tiles.stages);
  if (kernel == HopperKernel::kForward) {
    add("ATTNLAB_KEEPS_SHIFT", Weightings()[problem.weighting].tail_follows(problem.constants));
  }
  return instance;
}

// Operands of a backward kernel: tiles of so many rows of queries and of keys.
std::string EncodeOperands(const BackwardArgs& args, int query_rows, int key_rows,
                           hopper::BackwardParams& params) {
  const Shape& shape = args.shape;
  std::string error = Encode(args, args.q, shape.heads, shape.queries, query_rows, params.q);
  if (error.empty()) {
    error = Encode(args, args.out_grad, shape.heads, shape.queries, query_rows, params.out_grad);
  }
  if (error.empty()) error = Encode(args, args.k, shape.kv_heads, shape.keys, key_rows, params.k);
  if (error.empty()) error = Encode(args, args.v, shape.kv_heads, shape.keys, key_rows, params.v);
  return error;
}

// Elements of a backward kernel's operands in shared memory: the warpgroups' own 64 rows, and the
// tiles that pass by, two operands each.
int64_t OperandElements(const Shape& shape, const Tiles& tiles) {
  return 2 * shape.head_dim * (64 * tiles.groups + tiles.stages * tiles.rows);
}

// dK and dV, and, unless heads learn, sums of dQ.
std::string RunKeyBlocks(const BackwardArgs& args, const DeviceInfo& device,
                         hopper::BackwardParams& params) {
  const Shape& shape = args.shape;
  const Tiles tiles = TilesOf(HopperKernel::kBackward, shape.head_dim);
  std::string error = EncodeOperands(args, tiles.rows, 64, params);
  if (error.empty()) {
    error = Encode(args, args.k_grad, shape.kv_heads, shape.keys, 64, params.k_grad);
  }
  if (error.empty()) {
    error = Encode(args, args.v_grad, shape.kv_heads, shape.keys, 64, params.v_grad);
  }
  if (!error.empty()) return error;
  params.schedule = KeySchedule(shape, CeilDiv(shape.keys, 64 * tiles.groups), device);
  const int64_t score_grads =
      int64_t{64} * hopper::ScorePlaces(shape.head_dim) * tiles.groups * tiles.rows;
  const int64_t sums = hopper::SumPlaces(shape.head_dim) * shape.head_dim * tiles.rows *
                       static_cast<int64_t>(sizeof(float));
  const int row_bytes = static_cast<int>(sizeof(RowStatistic) + sizeof(RowMap));
  return Run(args, HopperInstance(args, HopperKernel::kBackward), "HopperBackward",
             LaunchOf(KeyThreadBlocks(params.schedule, device), tiles.groups,
                      OperandElements(shape, tiles) + score_grads,
                      tiles.stages * tiles.rows * row_bytes + static_cast<int>(sums)),
             &params);
}

// dQ and the gradients of what heads learn.
std::string RunLearningQueries(const BackwardArgs& args, const DeviceInfo& device,
                               hopper::BackwardParams& params) {
  const Shape& shape = args.shape;
  const Tiles tiles = TilesOf(HopperKernel::kQueries, shape.head_dim);
  std::string error = EncodeOperands(args, 64, tiles.rows, params);
  if (!error.empty()) return error;
  params.schedule =
      ScheduleOf(params.query_tiles, shape.batch, shape.heads, 2 * shape.keys * shape.head_dim,
                 shape.heads / shape.kv_heads, device);
  const Instance instance = HopperInstance(args, HopperKernel::kQueries);
  error = Run(args, instance, "HopperQueries",
              LaunchOf(std::min(params.schedule.count, device.multiprocessors), tiles.groups,
                       OperandElements(shape, tiles)),
              &params);
  return error.empty() ? RunSumLearned(instance, params) : error;
}

}  // namespace

bool HopperTakes(const Problem& problem, int arch) {
  const int64_t dim = problem.shape.head_dim;
  return arch == 90 && (dim == 64 || dim == 128) && TiledTakes(problem);
}

std::string HopperForward(const ForwardArgs& args, const DeviceInfo& device) {
  const Shape& shape = args.shape;
  const Tiles tiles = TilesOf(HopperKernel::kForward, shape.head_dim);
  hopper::ForwardParams params;
  params.args = args;
  params.schedule =
      ScheduleOf(CeilDiv(shape.queries, 64 * tiles.groups), shape.batch, shape.heads,
                 2 * shape.keys * shape.head_dim, shape.heads / shape.kv_heads, device);
  std::string error = Encode(args, args.q, shape.heads, shape.queries, 64, params.q);
  if (error.empty()) error = Encode(args, args.k, shape.kv_heads, shape.keys, tiles.rows, params.k);
  if (error.empty()) error = Encode(args, args.v, shape.kv_heads, shape.keys, tiles.rows, params.v);
  if (!error.empty()) return error;
  char* workspace = static_cast<char*>(args.workspace);
  params.taken = reinterpret_cast<int*>(workspace);
  error = Zero(args, params.taken, sizeof(int));
  if (!error.empty()) return error;
  if (Bounded(args)) {
    params.query_bounds = reinterpret_cast<hopper::QueryBound*>(workspace + kTakenBytes);
    params.key_bounds = reinterpret_cast<float*>(workspace + kTakenBytes + QueryBoundBytes(shape));
    const auto places =
        static_cast<unsigned>(CeilDiv(shape.queries, 64) + CeilDiv(shape.keys, 128));
    error =
        Run(args, HopperInstance(args, HopperKernel::kBounds), "HopperBounds",
            {{places, static_cast<unsigned>(shape.heads), static_cast<unsigned>(shape.batch)}, 32},
            &params);
    if (!error.empty()) return error;
  }
  const int64_t elements = shape.head_dim * (64 * tiles.groups + 2 * tiles.stages * tiles.rows);
  return Run(
      args, HopperInstance(args, HopperKernel::kForward), "HopperForward",
      LaunchOf(std::min(params.schedule.count, device.multiprocessors), tiles.groups, elements),
      &params);
}

int64_t HopperWorkspace(const ForwardArgs& args, const DeviceInfo&) {
  const Shape& shape = args.shape;
  if (!Bounded(args)) return kTakenBytes;
  return kTakenBytes + QueryBoundBytes(shape) +
         CeilDiv(shape.keys, 128) * shape.batch * shape.kv_heads * 4;
}

int64_t HopperWorkspace(const BackwardArgs& args, const DeviceInfo&) {
  return BackwardWorkspace(args, QueryTile(args), !Learns(args));
}

std::string HopperBackward(const BackwardArgs& args, const DeviceInfo& device) {
  hopper::BackwardParams params;
  static_cast<BackwardParams&>(params) = BackwardParamsOf(args, QueryTile(args), !Learns(args));
  std::string error = RunStatistics(HopperInstance(args, HopperKernel::kStatistics), params);
  if (error.empty()) error = RunKeyBlocks(args, device, params);
  if (!error.empty()) return error;
  if (Learns(args)) return RunLearningQueries(args, device, params);
  return Run(args, HopperInstance(args, HopperKernel::kBackward), "HopperQueryGradients",
             {{static_cast<unsigned>(params.query_tiles), static_cast<unsigned>(args.shape.heads),
               static_cast<unsigned>(args.shape.batch)},
              256},
             &params);
}

std::vector<Instance> HopperForwardInstances(const Problem& problem, int) {
  std::vector<Instance> instances = {HopperInstance(problem, HopperKernel::kForward)};
  if (Bounded(problem)) instances.push_back(HopperInstance(problem, HopperKernel::kBounds));
  return instances;
}

std::vector<Instance> HopperBackwardInstances(const Problem& problem, int) {
  std::vector<Instance> instances = {HopperInstance(problem, HopperKernel::kStatistics),
                                     HopperInstance(problem, HopperKernel::kBackward)};
  if (Learns(problem)) instances.push_back(HopperInstance(problem, HopperKernel::kQueries));
  return instances;
}

}  // namespace attnlab::cuda
