// The keys and values of one layer while text is generated, and attention of new queries on them.
//
//     KvCache cache(batch, kv_heads, max_tokens, head_dim, value_dim, k.options());
//     cache.Append(k, v);  // of the new tokens, after RoPE
//     at::Tensor out = CachedAttention(q, cache, options, head_parameters);
//
// Step by step or many tokens at once, the outputs are those of one forward over the whole text.
// With quantization the cache holds codes, and attention sees what they stand for: the numbers of
// QuantizeDequantize, bit for bit.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "libs/attention/kv_quantization.h"
#include "libs/attention/options.h"

namespace attnlab {

class KvCache {
 public:
  // Room for `capacity` tokens in the dtype and on the device of `like`; `quantization` is valid
  // for both dimensions. Keys come rotated when it says so.
  KvCache(int64_t batch, int64_t kv_heads, int64_t capacity, int64_t head_dim, int64_t value_dim,
          const at::TensorOptions& like, const KvQuantization& quantization = {});

  // Adds t tokens after the last. Throws c10::Error when they do not fit the capacity or the shape.
  void Append(const at::Tensor& k,   // [B, Hkv, t, D]
              const at::Tensor& v);  // [B, Hkv, t, Dv]

  // Forgets all tokens from position `length` on.
  void Truncate(int64_t length);

  // In the dtype of `like`: views, or with quantization what the codes stand for.
  at::Tensor keys() const { return Stored(keys_); }      // [B, Hkv, length, D]
  at::Tensor values() const { return Stored(values_); }  // [B, Hkv, length, Dv]
  int64_t length() const { return length_; }
  int64_t capacity() const { return capacity_; }
  // Bytes of the room for all tokens.
  int64_t Bytes() const;

 private:
  // Tensors [B, Hkv, capacity, ...]: the numbers, or the parts of KvCodes.
  struct Room {
    int64_t width;  // numbers of a token's head
    std::vector<at::Tensor> parts;
  };
  Room MakeRoom(int64_t batch, int64_t heads, int64_t width, const at::TensorOptions& like) const;
  void Write(Room& room, const at::Tensor& x);
  at::Tensor Stored(const Room& room) const;

  KvQuantization quantization_;
  at::ScalarType dtype_;
  int64_t capacity_;
  int64_t length_ = 0;
  Room keys_, values_;
};

// Attention of the last t tokens of the cache, [B, H, t, Dv]; without gradients. Few queries run on
// the split-key kernel where there is one.
at::Tensor CachedAttention(const at::Tensor& q,  // [B, H, t, D]
                           const KvCache& cache, const AttentionOptions& options,
                           const std::vector<at::Tensor>& head_parameters = {});  // each [H]

}  // namespace attnlab
