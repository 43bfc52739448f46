#include "kernels/cuda/hopper.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "kernels/cuda/instances.h"

namespace attnlab::hopper {
struct alignas(64) TensorMap {
  CUtensorMap map;
};
}  // namespace attnlab::hopper

#include "kernels/cuda/device/hopper_params.h"

namespace attnlab::cuda {
namespace {

constexpr int kElementBytes = 2;

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Tiles of `rows` rows by 64 elements of a tensor [batch, heads, length, dim], for the copy engine.
std::string Encode(const Operand& operand, DType dtype, int64_t batch, int64_t heads,
                   int64_t length, int64_t dim, int rows, hopper::TensorMap& map) {
  std::string error;
  const Driver* driver = GetDriver(error);
  if (driver == nullptr) return error;
  const auto type = dtype == DType::kBFloat16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
                                              : CU_TENSOR_MAP_DATA_TYPE_FLOAT16;
  const auto u = [](int64_t x) { return static_cast<cuuint64_t>(x); };
  // A stride that no second row, head or sequence uses may be anything that the driver accepts.
  const auto stride = [&](int64_t elements, int64_t count) {
    return u(count > 1 ? elements * kElementBytes : 16);
  };
  const cuuint64_t sizes[] = {u(dim), u(length), u(heads), u(batch)};
  const cuuint64_t strides[] = {stride(operand.row_stride, length),
                                stride(operand.head_stride, heads),
                                stride(operand.batch_stride, batch)};
  const cuuint32_t box[] = {64, static_cast<cuuint32_t>(rows), 1, 1};
  const cuuint32_t steps[] = {1, 1, 1, 1};
  return Describe("cuTensorMapEncodeTiled",
                  driver->cuTensorMapEncodeTiled(
                      &map.map, type, 4, const_cast<void*>(operand.data), sizes, strides, box, steps,
                      CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                      CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE));
}

bool Aligned(const Operand& operand) {
  return reinterpret_cast<uintptr_t>(operand.data) % 16 == 0 && operand.row_stride % 8 == 0 &&
         operand.head_stride % 8 == 0 && operand.batch_stride % 8 == 0;
}

struct ForwardTiles {
  int groups;    // of 64 query rows
  int key_tile;
  int stages;
};

ForwardTiles TilesFor(int64_t dim) {
  if (const char* t = std::getenv("TILES"); t && dim == 64) { ForwardTiles f; sscanf(t, "%d,%d,%d", &f.groups, &f.key_tile, &f.stages); return f; }
  if (dim == 64) return {3, 128, 4};
  return {2, 128, 2};
}

}  // namespace

bool HopperTakes(const Problem& problem, const DeviceInfo& device) {
  const Shape& shape = problem.shape;
  constexpr int64_t kMost = int64_t{1} << 30;
  return device.arch == 90 && problem.dtype != DType::kFloat32 &&
         shape.head_dim == shape.value_dim && (shape.head_dim == 64 || shape.head_dim == 128) &&
         problem.scale > 0.0f && shape.queries < kMost && shape.keys < kMost && shape.keys > 0 &&
         shape.batch * shape.heads * CeilDiv(shape.queries, 64) < kMost && Aligned(problem.q) &&
         Aligned(problem.k) && Aligned(problem.v);
}

std::string HopperForward(const ForwardArgs& args, const DeviceInfo& device) {
  const Shape& shape = args.shape;
  const ForwardTiles tiles = TilesFor(shape.head_dim);
  const int dim = static_cast<int>(shape.head_dim);
  hopper::ForwardParams params;
  params.args = args;
  const int64_t all = shape.batch * shape.heads;
  params.query_tiles = static_cast<int>(CeilDiv(shape.queries, 64 * tiles.groups));
  params.work = static_cast<int>(all * params.query_tiles);
  // Half the cache, the rest is for queries and outputs.
  const int64_t head_bytes = 2 * shape.keys * dim * kElementBytes;
  const int64_t sharing = shape.heads / shape.kv_heads;
  params.section = static_cast<int>(std::clamp<int64_t>(
      std::max<int64_t>(1, device.l2_bytes / 2 / head_bytes) * sharing, 1, all));
  std::string error =
      Encode(args.q, args.dtype, shape.batch, shape.heads, shape.queries, dim, 64, params.q);
  if (error.empty()) {
    error = Encode(args.k, args.dtype, shape.batch, shape.kv_heads, shape.keys, dim, tiles.key_tile, params.k);
  }
  if (error.empty()) {
    error = Encode(args.v, args.dtype, shape.batch, shape.kv_heads, shape.keys, dim, tiles.key_tile, params.v);
  }
  if (!error.empty()) return error;
  Instance instance = InstanceFor(args, "hopper_forward.cuh", 90);
  instance.macros.insert(instance.macros.end(),
                         {{"ATTNLAB_HEAD_DIM", std::to_string(dim)},
                          {"ATTNLAB_GROUPS", std::to_string(tiles.groups)},
                          {"ATTNLAB_KEY_TILE", std::to_string(tiles.key_tile)},
                          {"ATTNLAB_STAGES", std::to_string(tiles.stages)}});
  const int shared = 1024 + 1024 + dim * kElementBytes * (64 * tiles.groups + 2 * tiles.stages * tiles.key_tile);
  const unsigned blocks = static_cast<unsigned>(std::min(params.work, device.multiprocessors));
  return Run(args, instance, "HopperForward",
             {{blocks, 1, 1}, static_cast<unsigned>(128 * (tiles.groups + 1)), shared}, &params);
}

}  // namespace attnlab::cuda
