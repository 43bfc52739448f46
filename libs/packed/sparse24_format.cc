#include "libs/packed/sparse24_format.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/_cslt_compress.h>
#include <ATen/ops/_cslt_sparse_mm.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <c10/util/Exception.h>

#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "libs/core/log.h"
#include "libs/core/status.h"
#include "libs/packed/format_list.h"

namespace attnlab {
namespace {

constexpr char kName[] = "attnlab-2of4";
// What cuSPARSELt asks of the sides of the sparse matrix, and of the number of tokens.
constexpr int64_t kSide = 16, kTokens = 8;

// A four's two places [rows, fours, 2], each in 0..3 -> [rows, fours / 2, rounded up].
at::Tensor PackPositions(const at::Tensor& places) {
  at::Tensor nibbles =
      places.select(2, 0).bitwise_or(places.select(2, 1).bitwise_left_shift(2)).to(at::kByte);
  nibbles = at::constant_pad_nd(nibbles, {0, nibbles.size(1) % 2}).unflatten(1, {-1, 2});
  return nibbles.select(2, 0).bitwise_or(nibbles.select(2, 1).bitwise_left_shift(4));
}

at::Tensor UnpackPositions(const at::Tensor& bytes, int64_t fours) {
  const at::Tensor nibbles = at::stack({bytes.bitwise_and(15), bytes.bitwise_right_shift(4)}, 2)
                                 .flatten(1)
                                 .slice(1, 0, fours);
  return at::stack({nibbles.bitwise_and(3), nibbles.bitwise_right_shift(2)}, 2).to(at::kLong);
}

at::ScalarType ExactType(const at::Tensor& values) {
  for (const at::ScalarType type : {at::kBFloat16, at::kHalf}) {
    if (values.to(type).to(values.scalar_type()).eq(values).all().item<bool>()) return type;
  }
  return at::kFloat;
}

class Sparse24Matrix : public StoredMatrix {
 public:
  Sparse24Matrix(int64_t cols, at::Tensor values, at::Tensor positions)
      : StoredMatrix(values.size(0), cols),
        values_(std::move(values)),
        positions_(std::move(positions)) {}

  at::Tensor Dense(at::ScalarType dtype) const override {
    const int64_t fours = cols() / 4;
    return at::zeros({rows(), fours, 4}, values_.options().dtype(dtype))
        .scatter_(2, UnpackPositions(positions_, fours), values_.to(dtype).view({rows(), fours, 2}))
        .flatten(1);
  }

  at::Tensor Product(const at::Tensor& x) const override {
    const bool half = x.scalar_type() == at::kHalf || x.scalar_type() == at::kBFloat16;
    if (!half || rows() % kSide != 0 || cols() % kSide != 0 || !HasSparse24Product(x.device())) {
      return StoredMatrix::Product(x);
    }
    const at::Tensor tokens = x.detach().reshape({-1, cols()});
    const int64_t count = tokens.size(0), padding = (kTokens - count % kTokens) % kTokens;
    const at::Tensor padded = at::constant_pad_nd(tokens, {0, 0, 0, padding}).contiguous();
    std::vector<int64_t> shape = x.sizes().vec();
    shape.back() = rows();
    return at::_cslt_sparse_mm(Compressed(x.scalar_type()), padded.t())
        .t()
        .slice(0, 0, count)
        .reshape(shape);
  }

  SuffixedTensors Tensors() const override {
    return {{"values", values_}, {"positions", positions_}};
  }

  std::shared_ptr<const StoredMatrix> To(at::Device device) const override {
    return std::make_shared<Sparse24Matrix>(cols(), values_.to(device), positions_.to(device));
  }

 private:
  // As cuSPARSELt wants it, made at the first product of this type.
  at::Tensor Compressed(at::ScalarType dtype) const {
    const std::lock_guard lock(mutex_);
    at::Tensor& compressed = compressed_[dtype];
    if (!compressed.defined()) compressed = at::_cslt_compress(Dense(dtype));
    return compressed;
  }

  const at::Tensor values_, positions_;
  mutable std::mutex mutex_;
  mutable std::map<at::ScalarType, at::Tensor> compressed_;
};

}  // namespace

bool HasSparse24Product(at::Device device) {
  if (!device.is_cuda()) return false;
  static std::mutex mutex;
  static std::map<int, bool> known;
  const std::lock_guard lock(mutex);
  const auto [place, first] = known.try_emplace(device.index(), false);
  if (!first) return place->second;
  try {
    const at::Tensor identity = at::eye(32, at::TensorOptions(device).dtype(at::kHalf));
    place->second =
        at::_cslt_sparse_mm(at::_cslt_compress(identity), identity).eq(identity).all().item<bool>();
  } catch (const c10::Error& error) {
    LogInfo(absl::StrCat("2:4 matrices are multiplied as dense ones: ",
                         error.what_without_backtrace()));
  }
  return place->second;
}

absl::StatusOr<std::shared_ptr<const StoredMatrix>> StoreSparse24(const at::Tensor& weight) {
  if (weight.dim() != 2 || weight.size(1) % 4 != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("2:4 storage needs a multiple of 4 inputs, not ", weight.size(-1)));
  }
  const at::Tensor fours = weight.detach().unflatten(1, {-1, 4});
  const at::Tensor kept = fours.ne(0);
  if (kept.sum(2).gt(2).any().item<bool>()) {
    return absl::InvalidArgumentError(
        "2:4 storage: four consecutive inputs hold more than two numbers other than 0");
  }
  // The two places to keep: those that are not 0 first, then the first ones.
  const at::Tensor order = at::arange(3, -1, -1, weight.options().dtype(at::kLong));
  const at::Tensor chosen = std::get<1>((kept.to(at::kLong) * 4 + order).topk(2, 2));
  const at::Tensor places = std::get<0>(chosen.sort(2));
  const at::Tensor values = fours.gather(2, places).flatten(1);
  return std::make_shared<Sparse24Matrix>(weight.size(1), values.to(ExactType(values)),
                                          PackPositions(places));
}

Json Sparse24Config() { return Json::MakeObject().Set("quant_method", kName); }

absl::StatusOr<std::shared_ptr<const StoredMatrix>> ReadSparse24Matrix(MatrixTensors& tensors,
                                                                       int64_t rows, int64_t cols,
                                                                       const JsonRef& config) {
  if (cols % 4 != 0) {
    return tensors.Error("values",
                         absl::StrCat("cannot hold ", cols, " inputs: must be a multiple of 4"));
  }
  ATTNLAB_ASSIGN_OR_RETURN(at::Tensor values, tensors.Take("values"));
  const at::ScalarType type = values.scalar_type();
  if ((type != at::kFloat && type != at::kHalf && type != at::kBFloat16) ||
      values.sizes() != at::IntArrayRef({rows, cols / 2})) {
    return tensors.Error("values", absl::StrCat("must be float32, float16 or bfloat16 [", rows,
                                                ", ", cols / 2, "]"));
  }
  ATTNLAB_ASSIGN_OR_RETURN(at::Tensor positions,
                           tensors.Take("positions", at::kByte, {rows, (cols + 7) / 8}));
  const at::Tensor places = UnpackPositions(positions, cols / 4);
  if (!places.select(2, 0).lt(places.select(2, 1)).all().item<bool>()) {
    return tensors.Error("positions", "does not name two different places in order");
  }
  return std::make_shared<Sparse24Matrix>(cols, std::move(values), std::move(positions));
}

}  // namespace attnlab
