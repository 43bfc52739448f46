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
                 int64_t value_dim, const at::TensorOptions& like,
                 const KvQuantization& quantization)
    : quantization_(quantization),
      dtype_(c10::typeMetaToScalarType(like.dtype())),
      capacity_(capacity),
      keys_(MakeRoom(batch, kv_heads, head_dim, like)),
      values_(MakeRoom(batch, kv_heads, value_dim, like)) {}

KvCache::Room KvCache::MakeRoom(int64_t batch, int64_t heads, int64_t width,
                                const at::TensorOptions& like) const {
  const auto part = [&](int64_t count, at::ScalarType dtype) {
    return at::empty({batch, heads, capacity_, count}, like.dtype(dtype));
  };
  if (quantization_.bits == 0) return {width, {part(width, dtype_)}};
  const int64_t groups = quantization_.group > 0 ? width / quantization_.group : 1;
  return {width,
          {part(width * quantization_.bits / 8, at::kByte), part(groups, at::kHalf),
           part(groups, at::kHalf)}};
}

void KvCache::Write(Room& room, const at::Tensor& x) {
  std::vector<at::Tensor> parts = {x};
  if (quantization_.bits != 0) {
    // In the cache's dtype first, so that what is computed in another one rounds alike.
    const KvCodes stored = QuantizeKv(x.to(dtype_), quantization_);
    parts = {stored.codes, stored.scale, stored.minimum};
  }
  for (size_t i = 0; i < parts.size(); ++i) {
    room.parts[i].slice(2, length_, length_ + x.size(2)).copy_(parts[i]);
  }
}

at::Tensor KvCache::Stored(const Room& room) const {
  const auto part = [&](size_t i) { return room.parts[i].slice(2, 0, length_); };
  if (quantization_.bits == 0) return part(0);
  return DequantizeKv({part(0), part(1), part(2)}, quantization_, dtype_);
}

void KvCache::Append(const at::Tensor& k, const at::Tensor& v) {
  const c10::AutoGradMode no_grad(false);
  const int64_t end = length_ + k.size(2);
  TORCH_CHECK(end <= capacity(), "key-value cache of ", capacity(),
              " tokens has no room for token ", end, "; make it longer or generate less");
  const auto shape = [&](const Room& room) {
    return std::vector<int64_t>{room.parts[0].size(0), room.parts[0].size(1), k.size(2),
                                room.width};
  };
  TORCH_CHECK(k.sizes() == shape(keys_) && v.sizes() == shape(values_),
              "key-value cache wants keys ", shape(keys_), " and values ", shape(values_), ", got ",
              k.sizes(), " and ", v.sizes());
  Write(keys_, k);
  Write(values_, v);
  length_ = end;
}

int64_t KvCache::Bytes() const {
  int64_t bytes = 0;
  for (const Room* room : {&keys_, &values_}) {
    for (const at::Tensor& part : room->parts) bytes += static_cast<int64_t>(part.nbytes());
  }
  return bytes;
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
  if (kernel && q.size(2) <= kFewQueries && HasKernel(q, cache.keys(), cache.values(), options)) {
    return KernelDecode(q, cache.keys(), cache.values(), options, head_parameters);
  }
  return Attention(q, cache.keys(), cache.values(), options, head_parameters);
}

}  // namespace attnlab
