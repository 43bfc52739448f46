// The second kernel of a decode: the states that the ranges of keys left of a row, to its output.
#pragma once

#include "kernels/cuda/device/decode_rows.cuh"

namespace attnlab::decode {

inline constexpr int kParts = kMergeThreads / kDim;
// Sums that a thread asks for at once, before it knows what they are to be multiplied with.
inline constexpr int kAhead = 8;

}  // namespace attnlab::decode

// The states of a row to its output. Grid (rows of all key heads, batch); a thread sums one number
// of the output over every kParts'th range, in order, and then the parts are summed in order.
extern "C" __global__ void __launch_bounds__(attnlab::decode::kMergeThreads)
    DecodeMerge(const __grid_constant__ attnlab::decode::DecodeParams params) {
  using namespace attnlab;
  using namespace attnlab::decode;
  __shared__ RangeState states[kMostRanges];
  __shared__ float part_sums[kParts][kDim];
  __shared__ float part_masses[kParts];
  const ForwardArgs& args = params.args;
  const int dim = threadIdx.x % kDim, part = threadIdx.x / kDim, batch = blockIdx.y;
  const int kv_head = blockIdx.x / params.rows;
  const RowPlace at(args.shape, kv_head, blockIdx.x % params.rows);
  const Variant variant = WithConstants<Variant>(args.constants);
  const Sequence sequence(args, batch);
  const Row<float> row = DescribeRow(args, sequence, at, threadIdx.x % 32);
  const int64_t first = (static_cast<int64_t>(batch) * gridDim.x + blockIdx.x) * params.ranges;
  const float* sums = params.sums + first * kDim + dim;
  float ahead[kAhead];
  const auto ask = [&](int from) {
#pragma unroll
    for (int j = 0; j < kAhead; ++j) {
      const int i = from + j * kParts + part;
      ahead[j] = i < params.ranges ? sums[static_cast<int64_t>(i) * kDim] : 0.0f;
    }
  };

  WaitForKernelBefore();
  for (int i = threadIdx.x; i < params.ranges; i += kMergeThreads) {
    states[i] = params.states[first + i];
  }
  ask(0);
  __syncthreads();
  float shift = states[0].shift, mass = 0.0f, sum = 0.0f;
  for (int i = 1; i < params.ranges; ++i) shift = fmaxf(shift, states[i].shift);
  for (int from = 0; from < params.ranges; from += kAhead * kParts) {
    if (from > 0) ask(from);
#pragma unroll
    for (int j = 0; j < kAhead; ++j) {
      const int i = from + j * kParts + part;
      if (i >= params.ranges) break;
      const float take = kShifted ? Exp(states[i].shift - shift) : 1.0f;
      sum += ahead[j] * take;
      mass += states[i].mass * take;
    }
  }
  part_sums[part][dim] = sum;
  if (dim == 0) part_masses[part] = mass;
  __syncthreads();
  if (part != 0) return;
#pragma unroll
  for (int i = 1; i < kParts; ++i) {
    sum += part_sums[i][dim];
    mass += part_masses[i];
  }
  const float denominator = mass + variant.Tail(shift, row);
  const float inverse = denominator == 0.0f ? 0.0f : 1.0f / denominator;
  Element* out = static_cast<Element*>(args.out.data) + batch * args.out.batch_stride +
                 at.head * args.out.head_stride + at.query * args.out.row_stride;
  out[dim] = FromFloat<Element>(sum * inverse);
  if (args.shift == nullptr || dim != 0) return;
  const int64_t place =
      (static_cast<int64_t>(batch) * args.shape.heads + at.head) * args.shape.queries + at.query;
  args.shift[place] = kShifted ? shift : 0.0f;
  args.denominator[place] = denominator;
}
