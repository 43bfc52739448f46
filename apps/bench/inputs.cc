#include "apps/bench/inputs.h"

#include <ATen/Context.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "libs/core/rng.h"

namespace attnlab {
namespace {

constexpr uint64_t kSeed = 1;

at::Tensor EmptyRowsFirst(int64_t batch, int64_t heads, int64_t rows, int64_t dim,
                          at::TensorOptions options) {
  return at::empty({batch, rows, heads, dim}, options).transpose(1, 2);
}

// Draws of one generator, the same for the same device.
class Draws {
 public:
  explicit Draws(at::Device device)
      : generator_(at::globalContext().defaultGenerator(device).clone()) {
    generator_.set_current_seed(kSeed);
  }
  void Normal(const at::Tensor& t) { t.normal_(0, 1, generator_); }
  void Uniform(const at::Tensor& t) { t.uniform_(0, 1, generator_); }

 private:
  at::Generator generator_;
};

}  // namespace

Inputs EmptyInputs(const Shape& s, at::TensorOptions options) {
  return {EmptyRowsFirst(s.batch, s.heads, s.queries, s.head_dim, options),
          EmptyRowsFirst(s.batch, s.kv_heads, s.keys, s.head_dim, options),
          EmptyRowsFirst(s.batch, s.kv_heads, s.keys, s.value_dim, options),
          EmptyRowsFirst(s.batch, s.heads, s.queries, s.value_dim, options), ""};
}

Inputs RandomInputs(const Shape& shape, at::TensorOptions options, at::ScalarType rounding) {
  Inputs inputs = EmptyInputs(shape, options.dtype(rounding));
  Draws draws(options.device());
  const at::ScalarType type = c10::typeMetaToScalarType(options.dtype());
  for (at::Tensor* t : {&inputs.q, &inputs.k, &inputs.v, &inputs.out_grad}) {
    draws.Normal(*t);
    *t = t->to(type);
  }
  inputs.name = "random";
  return inputs;
}

std::vector<uint8_t> DeadTiles(int64_t heads, int64_t classes, int64_t tiles, double share,
                               uint64_t seed) {
  const auto dead = static_cast<int64_t>(std::llround(share * static_cast<double>(tiles)));
  std::vector<uint8_t> all(heads * classes * tiles, 0);
  std::vector<int64_t> order(tiles);
  for (int64_t row = 0; row < heads * classes; ++row) {
    std::iota(order.begin(), order.end(), 0);
    Rng rng(seed, "dead tiles", row);
    rng.Shuffle(order);
    for (int64_t i = 0; i < dead; ++i) all[row * tiles + order[i]] = 1;
  }
  return all;
}

int64_t DeadClasses(int64_t head_dim) { return std::clamp<int64_t>(head_dim / 2, 1, 32); }

Inputs DeadInputs(const Shape& s, at::TensorOptions options, double share) {
  Inputs inputs = EmptyInputs(s, options);
  Draws draws(options.device());
  draws.Uniform(inputs.q);
  draws.Uniform(inputs.k);
  draws.Normal(inputs.v);
  draws.Normal(inputs.out_grad);

  const int64_t classes = DeadClasses(s.head_dim);
  const auto integers = options.dtype(at::kLong);
  const at::Tensor of_query =
      at::arange(s.queries, integers).floor_divide(kDeadRows).remainder(classes);
  const at::Tensor code = of_query.unsqueeze(1).eq(at::arange(classes, integers));  // [T, classes]
  inputs.q.slice(3, 0, classes).copy_(code.view({1, 1, s.queries, classes}));

  const int64_t tiles = (s.keys + kDeadKeys - 1) / kDeadKeys;
  std::vector<uint8_t> dead = DeadTiles(s.batch * s.kv_heads, classes, tiles, share, kSeed);
  const at::Tensor of_tile =
      at::from_blob(dead.data(), {s.batch, s.kv_heads, classes, tiles}, at::kByte)
          .to(options)
          .mul(-2.0 * static_cast<double>(s.head_dim - classes))
          .transpose(2, 3);  // [B, Hkv, tiles, classes]
  const at::Tensor of_key = at::arange(s.keys, integers).floor_divide(kDeadKeys);
  inputs.k.slice(3, 0, classes).copy_(of_tile.index_select(2, of_key));
  inputs.name = absl::StrCat("dead ", share);
  return inputs;
}

}  // namespace attnlab
