// The keys and values of one layer while text is generated, and attention of new queries on them.
//
//     KvCache cache(batch, kv_heads, max_tokens, head_dim, value_dim, k.options());
//     cache.Append(k, v);  // of the new tokens, after RoPE
//     at::Tensor out = CachedAttention(q, cache, options, head_parameters);
//
// Step by step or many tokens at once, the outputs are those of one forward over the whole text.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "libs/attention/options.h"

namespace attnlab {

class KvCache {
 public:
  // Room for `capacity` tokens in the dtype and on the device of `like`.
  KvCache(int64_t batch, int64_t kv_heads, int64_t capacity, int64_t head_dim, int64_t value_dim,
          const at::TensorOptions& like);

  // Adds t tokens after the last. Throws c10::Error when they do not fit the capacity or the shape.
  void Append(const at::Tensor& k,   // [B, Hkv, t, D]
              const at::Tensor& v);  // [B, Hkv, t, Dv]

  // Forgets all tokens from position `length` on.
  void Truncate(int64_t length);

  at::Tensor keys() const { return keys_.slice(2, 0, length_); }  // [B, Hkv, length, D], a view
  at::Tensor values() const {
    return values_.slice(2, 0, length_);
  }  // [B, Hkv, length, Dv], a view
  int64_t length() const { return length_; }
  int64_t capacity() const { return keys_.size(2); }

 private:
  at::Tensor keys_;
  at::Tensor values_;
  int64_t length_ = 0;
};

// Attention of the last t tokens of the cache, [B, H, t, Dv]; without gradients. Few queries run on
// the split-key kernel where there is one.
at::Tensor CachedAttention(const at::Tensor& q,  // [B, H, t, D]
                           const KvCache& cache, const AttentionOptions& options,
                           const std::vector<at::Tensor>& head_parameters = {});  // each [H]

}  // namespace attnlab
