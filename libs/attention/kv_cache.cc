#include "libs/attention/kv_cache.h"

#include <ATen/ops/empty.h>
#include <c10/core/GradMode.h>

#include "libs/attention/kernel_path.h"
#include "libs/attention/op.h"

namespace attnlab {
namespace {

// Up to so many new tokens, splitting the keys over the threads beats splitting the queries.
constexpr int64_t kFewQueries = 8;

}  // namespace

KvCache::KvCache(int64_t batch, int64_t kv_heads, int64_t capacity, int64_t head_dim,
                 int64_t value_dim, const at::TensorOptions& like)
    : keys_(at::empty({batch, kv_heads, capacity, head_dim}, like)),
      values_(at::empty({batch, kv_heads, capacity, value_dim}, like)) {}

void KvCache::Append(const at::Tensor& k, const at::Tensor& v) {
  const c10::AutoGradMode no_grad(false);
  const int64_t end = length_ + k.size(2);
  TORCH_CHECK(end <= capacity(), "key-value cache of ", capacity(),
              " tokens has no room for token ", end, "; make it longer or generate less");
  const at::Tensor key_room = keys_.slice(2, length_, end);
  const at::Tensor value_room = values_.slice(2, length_, end);
  TORCH_CHECK(k.sizes() == key_room.sizes() && v.sizes() == value_room.sizes(),
              "key-value cache wants keys ", key_room.sizes(), " and values ", value_room.sizes(),
              ", got ", k.sizes(), " and ", v.sizes());
  key_room.copy_(k);
  value_room.copy_(v);
  length_ = end;
}

void KvCache::Truncate(int64_t length) {
  TORCH_CHECK(0 <= length && length <= length_, "cannot truncate a cache of ", length_,
              " tokens to ", length);
  length_ = length;
}

at::Tensor CachedAttention(const at::Tensor& q, const KvCache& cache,
                           const AttentionOptions& options,
                           const std::vector<at::Tensor>& head_parameters) {
  const c10::AutoGradMode no_grad(false);
  const bool kernel = options.implementation == "auto" || options.implementation == "kernel";
  if (kernel && q.size(2) <= kFewQueries && HasKernel(q)) {
    return KernelDecode(q, cache.keys(), cache.values(), options, head_parameters);
  }
  return Attention(q, cache.keys(), cache.values(), options, head_parameters);
}

}  // namespace attnlab
