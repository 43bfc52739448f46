#include "libs/attention/kv_quantization.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>

#include <vector>

#include "absl/strings/str_format.h"
#include "libs/attention/hadamard.h"

namespace attnlab {
namespace {

constexpr double kLargestHalf = 65504;

// [..., n] codes of `bits` bits -> [..., n * bits / 8] bytes.
at::Tensor Pack(const at::Tensor& codes, int64_t bits) {
  const int64_t per_byte = 8 / bits;
  at::Tensor parts = codes.unflatten(-1, {-1, per_byte});
  at::Tensor bytes = parts.select(-1, 0).clone();
  for (int64_t i = 1; i < per_byte; ++i) {
    bytes.bitwise_or_(parts.select(-1, i).bitwise_left_shift(bits * i));
  }
  return bytes;
}

at::Tensor Unpack(const at::Tensor& bytes, int64_t bits) {
  std::vector<at::Tensor> parts;
  for (int64_t i = 0; i < 8 / bits; ++i) {
    parts.push_back(bytes.bitwise_right_shift(bits * i).bitwise_and((1 << bits) - 1));
  }
  return at::stack(parts, -1).flatten(-2);
}

}  // namespace

absl::Status Validate(const KvQuantization& options, int64_t head_dim) {
  if (options.bits != 0 && options.bits != 2 && options.bits != 4 && options.bits != 8) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "bits = %d: must be 8, 4 or 2, or 0 for keys and values as computed", options.bits));
  }
  const int64_t group = options.group > 0 ? options.group : head_dim;
  if (options.group < 0 || head_dim % group != 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "group = %d: must divide the head dimension, %d, or be 0", options.group, head_dim));
  }
  if (options.bits != 0 && head_dim * options.bits % 8 != 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "bits = %d: the %d numbers of a head do not fill whole bytes", options.bits, head_dim));
  }
  return absl::OkStatus();
}

KvCodes QuantizeKv(const at::Tensor& x, const KvQuantization& options) {
  const double largest = static_cast<double>((1 << options.bits) - 1);
  const int64_t group = options.group > 0 ? options.group : x.size(-1);
  const at::Tensor numbers = x.detach().to(at::kFloat).unflatten(-1, {-1, group});
  const at::Tensor low = numbers.amin(-1), high = numbers.amax(-1);
  const auto half = [](const at::Tensor& t) {
    return t.clamp(-kLargestHalf, kLargestHalf).to(at::kHalf);
  };
  const at::Tensor scale = half((high - low) / largest), minimum = half(low);
  const at::Tensor step = scale.to(at::kFloat).unsqueeze(-1);
  // A group of equal numbers is its minimum: any step serves.
  const at::Tensor codes = ((numbers - minimum.to(at::kFloat).unsqueeze(-1)) /
                            at::where(step > 0, step, at::Scalar(1.0)))
                               .round()
                               .clamp(0, largest)
                               .to(at::kByte)
                               .flatten(-2);
  return {Pack(codes, options.bits), scale, minimum};
}

at::Tensor DequantizeKv(const KvCodes& stored, const KvQuantization& options,
                        at::ScalarType dtype) {
  const at::Tensor codes = Unpack(stored.codes, options.bits).to(at::kFloat);
  const at::Tensor grouped = codes.unflatten(-1, {stored.scale.size(-1), -1});
  return (stored.minimum.to(at::kFloat).unsqueeze(-1) +
          grouped * stored.scale.to(at::kFloat).unsqueeze(-1))
      .flatten(-2)
      .to(dtype);
}

at::Tensor QuantizeDequantize(const at::Tensor& x, const KvQuantization& options) {
  if (options.bits == 0) return x;
  return DequantizeKv(QuantizeKv(x, options), options, x.scalar_type());
}

at::Tensor RotateHeads(const at::Tensor& x) {
  return HadamardTransform(x, FindHadamard(x.size(-1), /*sylvester_only=*/true));
}

}  // namespace attnlab
