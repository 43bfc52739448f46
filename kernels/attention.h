// Attention in tiles: the launch interface of all kernels, for every variant of the registry.
//
//     s_ij  = score map of scale q_i . k_j                           (kernels/weighting.h)
//     out_i = sum_j W(s_ij, m_i) v_j / den_i,   den_i = sum_j M(s_ij, m_i) + Tail(m_i)
//
// Scores live in one tile at a time (FlashAttention-2, Dao 2023, 2307.08691): memory is linear in
// the sequence length, and the backward keeps the output and two numbers a row. Sums and statistics
// are float32. On a CPU 16-bit operands are widened tile by tile; on a CUDA device tensor cores
// multiply them, with weights rounded to their type. The bits of a result do not depend on the
// number of threads, and are the same in every run. A row that sees no key, or whose denominator is
// 0, has output and gradient 0.
#pragma once

#include <cstdint>

#include "kernels/mask.h"
#include "kernels/weighting.h"

namespace attnlab {

enum class DType { kFloat32, kBFloat16, kFloat16 };  // float16 on CUDA devices only

inline constexpr int kCpu = -1;

struct Shape {
  int64_t batch;
  int64_t heads;     // query heads, a multiple of kv_heads
  int64_t kv_heads;  // query head h reads key head h / (heads / kv_heads)
  int64_t queries;
  int64_t keys;
  int64_t head_dim;   // of q and k
  int64_t value_dim;  // of v and out
};

// A tensor [batch, heads, rows, dim] of Problem::dtype: strides in elements, the last one is 1.
struct Operand {
  const void* data = nullptr;
  int64_t batch_stride = 0;
  int64_t head_stride = 0;
  int64_t row_stride = 0;
};
struct Result {
  void* data = nullptr;
  int64_t batch_stride = 0;
  int64_t head_stride = 0;
  int64_t row_stride = 0;
};

// What forward, backward and decode share.
struct Problem {
  int weighting = 0;  // place in Weightings()
  // In the order of WeightingInfo::constants and ::learned; learned numbers are [heads] each.
  float constants[kMaxConstants] = {};
  const float* learned[kMaxLearned] = {};
  Shape shape = {};
  Mask mask;
  float scale = 1.0f;
  DType dtype = DType::kFloat32;
  int device = kCpu;       // or the number of a CUDA device, where all pointers point to
  void* stream = nullptr;  // cudaStream_t; the launch returns before the work is done
  // Products of tiles whose weights are all 0 are left out; false is for measuring what that saves.
  bool skip_zero_tiles = true;
  // [2] on the device, or null; adds tiles seen, tiles skipped. In decode on a CUDA device a tile
  // is the value of one key.
  uint64_t* tile_counts = nullptr;
  // On a CUDA device: "hopper", "mma" or "oracle" (kernels/cuda/attention.h), an error where that
  // does not take the problem; null: the best that does.
  const char* kernel = nullptr;
  // WorkspaceBytes(args) bytes on the device, aligned to 256; null where that is 0.
  void* workspace = nullptr;
  Operand q;  // [batch, heads, queries, head_dim]
  Operand k;  // [batch, kv_heads, keys, head_dim]
  Operand v;  // [batch, kv_heads, keys, value_dim]
};

// Which tiles of a CUDA launch have weights: bit t of row [batch, head, g] says that some weight of
// queries 64 g to 64 g + 63 on keys 128 t to 128 t + 127 may not be 0. The forward of a variant
// with exact zeros writes it, and its backward leaves out what the other tiles do not need.
inline int64_t LiveRows(const Shape& shape) {
  return shape.batch * shape.heads * ((shape.queries + 63) / 64);
}
inline int64_t LiveWords(const Shape& shape) { return (shape.keys + 4095) / 4096; }  // a row

// Keys and values of sequences that differ in length, or that lie in pages of one pool. In decode
// on a CUDA device only.
struct KeyCache {
  // [batch], at most shape.keys each, or null. The queries are the last positions of their own
  // sequence, whatever Mask::query_offset says: query i stands at key_lengths[b] - queries + i.
  const int32_t* key_lengths = nullptr;
  // [batch, blocks_per_sequence], or null: key j of a sequence is row j % page_size of page
  // block_table[j / page_size]. k and v are [pages, kv_heads, page_size, dim] then, batch_stride
  // from page to page.
  const int32_t* block_table = nullptr;
  int64_t blocks_per_sequence = 0;
  int64_t page_size = 0;  // keys, a multiple of 16
};

struct ForwardArgs : Problem {
  KeyCache cache;
  Result out;                    // [batch, heads, queries, value_dim]
  float* shift = nullptr;        // [batch, heads, queries] dense: m, for the backward; both or none
  float* denominator = nullptr;  // [batch, heads, queries] dense: den
  uint32_t* live_tiles = nullptr;  // [LiveRows, LiveWords], or null
};

struct BackwardArgs : Problem {
  Operand out;                            // of the forward, as are shift and denominator
  Operand out_grad;                       // [batch, heads, queries, value_dim]
  const float* shift = nullptr;           // [batch, heads, queries] dense
  const float* denominator = nullptr;     // [batch, heads, queries] dense
  const uint32_t* live_tiles = nullptr;   // of the forward, or null: every tile may have weights
  Result q_grad;                          // like q; overwritten, as are all gradients
  Result k_grad;                          // like k
  Result v_grad;                          // like v
  float* learned_grad[kMaxLearned] = {};  // each [heads], float32
};

// What `args` need as workspace, for Forward and for Decode alike; 0 on the CPU.
int64_t WorkspaceBytes(const ForwardArgs& args);
int64_t WorkspaceBytes(const BackwardArgs& args);

// Constants of `problem` set to the variant's defaults. `problem.weighting` is valid.
void SetDefaultConstants(Problem& problem);

// Each returns null, or what is wrong with the arguments (nothing is written then).
[[nodiscard]] const char* Forward(const ForwardArgs& args);
[[nodiscard]] const char* Backward(const BackwardArgs& args);

// Forward for few queries on many keys (a cache): the keys are split into ranges that run side by
// side; each keeps a row state, and the states merge at the end (Flash-Decoding, Dao et al. 2023).
[[nodiscard]] const char* Decode(const ForwardArgs& args);

}  // namespace attnlab
