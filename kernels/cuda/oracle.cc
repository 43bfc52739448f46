#include "kernels/cuda/oracle.h"

#include "kernels/cuda/device/oracle_params.h"
#include "kernels/cuda/instances.h"
#include "kernels/cuda/tiled.h"
#include "kernels/weighting_info.h"

namespace attnlab::cuda {
namespace {

constexpr int kWarps = 8;  // rows of a block

// One warp for each of `rows` rows.
std::string RunRows(const Problem& problem, int arch, const char* name, int64_t rows,
                    const void* params) {
  if (rows == 0) return "";
  return Run(problem, OracleInstance(problem, arch), name,
             {{static_cast<unsigned>(CeilDiv(rows, kWarps)), 1, 1}, 32 * kWarps}, params);
}

int64_t QueryRows(const Shape& shape) { return shape.batch * shape.heads * shape.queries; }
int64_t KeyRows(const Shape& shape) { return shape.batch * shape.kv_heads * shape.keys; }

int64_t RecordBytes(const Shape& shape) {
  return CeilDiv(QueryRows(shape) * static_cast<int64_t>(sizeof(oracle::RowRecord)), 256) * 256;
}

}  // namespace

bool OracleTakes(const Problem& problem, int) {
  const Shape& shape = problem.shape;
  constexpr int64_t kMost = int64_t{1} << 30;
  constexpr int64_t kMostRows = (int64_t{1} << 31) * kWarps - kWarps;
  return shape.head_dim <= 256 && shape.value_dim <= 256 && shape.queries < kMost &&
         shape.keys < kMost && QueryRows(shape) < kMostRows && KeyRows(shape) < kMostRows;
}

Instance OracleInstance(const Problem& problem, int arch) {
  Instance instance = InstanceFor(problem, "oracle.cuh", arch);
  instance.macros.emplace_back("ATTNLAB_HEAD_DIM", std::to_string(problem.shape.head_dim));
  instance.macros.emplace_back("ATTNLAB_VALUE_DIM", std::to_string(problem.shape.value_dim));
  return instance;
}

std::string OracleForward(const ForwardArgs& args, const DeviceInfo& device) {
  return RunRows(args, device.arch, "OracleForward", QueryRows(args.shape), &args);
}

int64_t OracleWorkspace(const BackwardArgs& args, const DeviceInfo&) {
  const auto learned = static_cast<int64_t>(Weightings()[args.weighting].learned.size());
  return RecordBytes(args.shape) +
         learned * QueryRows(args.shape) * static_cast<int64_t>(sizeof(double));
}

std::string OracleBackward(const BackwardArgs& args, const DeviceInfo& device) {
  const Shape& shape = args.shape;
  oracle::BackwardParams params = {};
  params.args = args;
  params.rows = static_cast<oracle::RowRecord*>(args.workspace);
  params.learned =
      reinterpret_cast<double*>(static_cast<char*>(args.workspace) + RecordBytes(shape));
  params.query_tiles = static_cast<int>(shape.queries);
  std::string error = RunRows(args, device.arch, "OracleQueries", QueryRows(shape), &params);
  if (error.empty()) error = RunRows(args, device.arch, "OracleKeys", KeyRows(shape), &params);
  if (error.empty()) error = RunSumLearned(OracleInstance(args, device.arch), params);
  return error;
}

}  // namespace attnlab::cuda
