// Before the forward of some variants: how large scores can be, from the norms of queries and keys.
#include "kernels/cuda/device/hopper_tiles.cuh"

// The largest scores that the forward may meet (ScoreBound). One warp a group of 64 queries or a
// tile of 128 keys; grid (groups + tiles, heads, batch).
extern "C" __global__ void __launch_bounds__(32)
    HopperBounds(const __grid_constant__ attnlab::hopper::ForwardParams params) {
  using namespace attnlab;
  using namespace attnlab::hopper;
  const ForwardArgs& args = params.args;
  const int lane = threadIdx.x;
  const int head = blockIdx.y, batch = blockIdx.z;
  const int queries = static_cast<int>(args.shape.queries),
            keys = static_cast<int>(args.shape.keys);
  const int groups = (queries + 63) / 64;
  const auto norm = [&](const Operand& operand, int row) {
    const Element* x = RowAt(operand, batch, head, row);
    float sum = 0.0f;
    for (int i = 0; i < kDim; i += 8) {
      const uint4 eight = *reinterpret_cast<const uint4*>(x + i);
      for (const uint32_t pair : {eight.x, eight.y, eight.z, eight.w}) {
        sum += Low<Element>(pair) * Low<Element>(pair) + High<Element>(pair) * High<Element>(pair);
      }
    }
    return sqrtf(sum);
  };
  if (static_cast<int>(blockIdx.x) < groups) {
    const int group = blockIdx.x;
    const Variant variant = WithConstants<Variant>(args.constants);
    const Mask mask = MaskOf(args, batch);
    QueryBound bound = {0.0f, kNoFloor, kNoFloor};
    for (int query = 64 * group + lane; query < min(64 * group + 64, queries); query += 32) {
      const ScoreMap map = ScoreMapOf(args, variant, RowOf(args, mask, head, query));
      bound.reach = fmaxf(bound.reach, fabsf(map.gain) * norm(args.q, query));
      bound.offset = fmaxf(bound.offset, map.offset);
      bound.slope = fmaxf(bound.slope, map.slope);
    }
    bound = {MaxOfWarp(bound.reach), MaxOfWarp(bound.offset), MaxOfWarp(bound.slope)};
    const int64_t place = (static_cast<int64_t>(batch) * args.shape.heads + head) * groups + group;
    if (lane == 0) params.query_bounds[place] = bound;
  } else if (head < args.shape.kv_heads) {
    const int tile = static_cast<int>(blockIdx.x) - groups;
    float longest = 0.0f;
    for (int key = 128 * tile + lane; key < min(128 * tile + 128, keys); key += 32) {
      longest = fmaxf(longest, norm(args.k, key));
    }
    longest = MaxOfWarp(longest);
    const int64_t place =
        (static_cast<int64_t>(batch) * args.shape.kv_heads + head) * ((keys + 127) / 128) + tile;
    if (lane == 0) params.key_bounds[place] = longest;
  }
}
