// The second kernel of a decode: the states that the ranges of keys left of a row, to its output.
#pragma once

#include "kernels/cuda/device/decode_rows.cuh"

// The states of a row, merged in the order of the ranges, to its output. Grid (rows of all key
// heads, batch), one thread a number of the output.
extern "C" __global__ void __launch_bounds__(attnlab::decode::kDim)
    DecodeMerge(const __grid_constant__ attnlab::decode::DecodeParams params) {
  using namespace attnlab;
  using namespace attnlab::decode;
  __shared__ float take[kMostRanges];
  __shared__ float masses[kMostRanges];
  const ForwardArgs& args = params.args;
  const int thread = threadIdx.x, batch = blockIdx.y;
  const int kv_head = blockIdx.x / params.rows;
  const RowPlace at(args.shape, kv_head, blockIdx.x % params.rows);
  const Variant variant = WithConstants<Variant>(args.constants);
  const Sequence sequence(args, batch);
  const Row<float> row = DescribeRow(args, sequence, at, thread % 32);
  const int64_t first = (static_cast<int64_t>(batch) * gridDim.x + blockIdx.x) * params.ranges;

  WaitForKernelBefore();
  for (int i = thread; i < params.ranges; i += kDim) {
    const RangeState state = params.states[first + i];
    take[i] = state.shift;
    masses[i] = state.mass;
  }
  __syncthreads();
  float shift = take[0], mass = 0.0f, sum = 0.0f;
  for (int i = 1; i < params.ranges; ++i) shift = fmaxf(shift, take[i]);
  __syncthreads();
  for (int i = thread; i < params.ranges; i += kDim) {
    take[i] = kShifted ? Exp(take[i] - shift) : 1.0f;
  }
  __syncthreads();
  const float* sums = params.sums + first * kDim + thread;
#pragma unroll 8
  for (int i = 0; i < params.ranges; ++i) {
    sum += sums[static_cast<int64_t>(i) * kDim] * take[i];
    mass += masses[i] * take[i];
  }
  const float denominator = mass + variant.Tail(shift, row);
  const float inverse = denominator == 0.0f ? 0.0f : 1.0f / denominator;
  Element* out = static_cast<Element*>(args.out.data) + batch * args.out.batch_stride +
                 at.head * args.out.head_stride + at.query * args.out.row_stride;
  out[thread] = FromFloat<Element>(sum * inverse);
  if (args.shift == nullptr || thread != 0) return;
  const int64_t place =
      (static_cast<int64_t>(batch) * args.shape.heads + at.head) * args.shape.queries + at.query;
  args.shift[place] = kShifted ? shift : 0.0f;
  args.denominator[place] = denominator;
}
