#include "libs/packed/bitsandbytes_codes.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/bucketize.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/linspace.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace attnlab {
namespace {

// Positions in [-1, 1] that magnitudes are rounded to before the nearest value is looked up.
constexpr double kGrid = 65535;

at::Tensor Midpoints(const at::Tensor& ascending) {
  return (ascending.slice(0, 0, -1) + ascending.slice(0, 1)) / 2;
}

// Codes of the 16 values in ascending order; of FP4's two zeros the positive one stands first.
std::vector<int64_t> AscendingCodes(FourBitType type) {
  if (type == FourBitType::kFp4) return {11, 10, 13, 12, 15, 14, 9, 0, 8, 1, 6, 7, 4, 5, 2, 3};
  return {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
}

}  // namespace

at::Tensor FourBitValues(FourBitType type) {
  if (type == FourBitType::kFp4) {
    const at::Tensor twelfths =
        at::tensor({0.0f, 0.0625f, 8.0f, 12.0f, 4.0f, 6.0f, 2.0f, 3.0f, -0.0f, -0.0625f, -8.0f,
                    -12.0f, -4.0f, -6.0f, -2.0f, -3.0f});
    return twelfths / 12;
  }
  return at::tensor({-1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f,
                     -0.28444138169288635f, -0.18477343022823334f, -0.09105003625154495f, 0.0f,
                     0.07958029955625534f, 0.16093020141124725f, 0.24611230194568634f,
                     0.33791524171829224f, 0.44070982933044434f, 0.5626170039176941f,
                     0.7229568362236023f, 1.0f});
}

at::Tensor DynamicMap() {
  // 2^i midpoints of even steps from 0.1 to 1 in each decade 10^(i - 6), both signs; 0 and 1.
  std::vector<float> values = {0.0f, 1.0f};
  for (int decade = 0; decade < 7; ++decade) {
    const int64_t count = int64_t{1} << decade;
    const at::Tensor bounds = at::linspace(0.1, 1, count + 1, at::kFloat);
    const at::Tensor scaled = Midpoints(bounds) * std::pow(10.0, decade - 6);
    for (int64_t i = 0; i < count; ++i) {
      const float value = scaled[i].item<float>();
      values.insert(values.end(), {value, -value});
    }
  }
  std::sort(values.begin(), values.end());
  return at::tensor(values);
}

at::Tensor ExpandBlocks(const at::Tensor& codes, const at::Tensor& values, const at::Tensor& scale,
                        int64_t block_size) {
  const int64_t count = codes.size(0), padding = scale.size(0) * block_size - count;
  const at::Tensor numbers = values.index_select(0, codes.to(at::kLong));
  return (at::constant_pad_nd(numbers, {0, padding}).view({-1, block_size}) * scale.unsqueeze(1))
      .flatten()
      .slice(0, 0, count);
}

std::pair<at::Tensor, at::Tensor> ScaleBlocks(const at::Tensor& x, int64_t block_size) {
  constexpr double kFloor = 1e-38;
  const int64_t count = x.size(0), whole = count / block_size * block_size;
  const at::Tensor padded =
      at::constant_pad_nd(x, {0, Blocks(count, block_size) * block_size - count});
  at::Tensor absmax = padded.view({-1, block_size}).abs().amax(1);
  const at::Tensor factor = absmax.clamp_min(kFloor).reciprocal();
  at::Tensor scaled = (padded.view({-1, block_size}) * factor.unsqueeze(1)).flatten();
  if (whole < count) {
    absmax[-1].clamp_(kFloor);
    scaled.slice(0, whole).copy_(padded.slice(0, whole) / absmax[-1]);
  }
  return {absmax, scaled.slice(0, 0, count).clamp(-1, 1)};
}

at::Tensor FourBitCodes(const at::Tensor& scaled, FourBitType type) {
  const at::Tensor order = at::tensor(AscendingCodes(type), at::kLong).to(scaled.device());
  const at::Tensor ascending = FourBitValues(type).to(scaled.device()).index_select(0, order);
  const at::Tensor codes = order.index_select(0, at::bucketize(scaled, Midpoints(ascending)));
  const at::Tensor pairs = codes.to(at::kByte).view({-1, 2});
  return pairs.select(1, 0).bitwise_left_shift(4).bitwise_or(pairs.select(1, 1)).unsqueeze(1);
}

at::Tensor QuantizeMagnitudes(const at::Tensor& absmax, Nested& nested) {
  nested.map = DynamicMap().to(absmax.device());
  const at::Tensor mean = absmax.mean();
  nested.offset = mean.item<float>();
  const at::Tensor rest = absmax - mean;
  const int64_t count = rest.size(0), blocks = Blocks(count, kNestedBlock);
  const at::Tensor grouped =
      at::constant_pad_nd(rest, {0, blocks * kNestedBlock - count}).view({blocks, kNestedBlock});
  nested.absmax = grouped.abs().amax(1);
  const at::Tensor top = nested.absmax.unsqueeze(1);
  const at::Tensor scaled = at::where(top > 0, grouped * top.reciprocal(), at::Scalar(-1.0));
  const at::Tensor cell = ((scaled.clamp(-1, 1) + 1) * (0.5 * kGrid) + 0.5).floor();
  return at::bucketize(cell / kGrid * 2 - 1, Midpoints(nested.map))
      .to(at::kByte)
      .flatten()
      .slice(0, 0, count)
      .contiguous();
}

}  // namespace attnlab
