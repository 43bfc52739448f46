#include "libs/compress/moments.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

namespace attnlab {
namespace {

constexpr int64_t kBlock = 512;
// Tokens that a CPU looks at together, for the reason of kCpuMeasuringPass in compress.cc.
constexpr int64_t kCpuTokens = 1024;

// sums += x^T x on and below the diagonal, by blocks of rows: half the products.
void AddLowerProducts(const at::Tensor& x, at::Tensor& sums) {
  const int64_t width = x.size(1);
  for (int64_t begin = 0; begin < width; begin += kBlock) {
    const int64_t end = std::min(begin + kBlock, width);
    sums.slice(0, begin, end)
        .slice(1, 0, end)
        .addmm_(x.slice(1, begin, end).t(), x.slice(1, 0, end));
  }
}

// What lies below the diagonal mirrored above it.
at::Tensor Mirrored(const at::Tensor& lower) { return lower.tril() + lower.tril(-1).t(); }

}  // namespace

void MomentsProbe::OnMatrixInput(int64_t /*layer*/, MatrixSlot first, const at::Tensor& input) {
  Sums& sums = first == MatrixSlot::kQ      ? attention_
               : first == MatrixSlot::kO    ? output_
               : first == MatrixSlot::kGate ? mlp_
                                            : down_;
  const at::Tensor tokens = input.detach().flatten(0, -2);  // [tokens, in]
  for (const at::Tensor& rows : tokens.split(input.is_cpu() ? kCpuTokens : tokens.size(0))) {
    AddTokens(rows.to(at::kFloat), sums);
  }
  sums.sequences += input.size(0);
}

void MomentsProbe::AddTokens(const at::Tensor& x, Sums& sums) const {
  const at::Tensor absolute = x.abs();
  const at::Tensor squares = x.square().sum(0), absolutes = absolute.sum(0),
                   largest = absolute.amax(0);
  const bool first_batch = sums.tokens == 0;
  sums.squares = first_batch ? squares : sums.squares + squares;
  sums.absolutes = first_batch ? absolutes : sums.absolutes + absolutes;
  sums.largest = first_batch ? largest : at::maximum(sums.largest, largest);
  if (needs_.hessian) {
    if (first_batch) sums.products = at::zeros({x.size(1), x.size(1)}, x.options());
    AddLowerProducts(x, sums.products);
  }
  if (needs_.sample_tokens > 0) {
    const int64_t stride = std::max<int64_t>(1, total_tokens_ / needs_.sample_tokens);
    const int64_t start = (stride - sums.tokens % stride) % stride;
    if (start < x.size(0)) {
      sums.sample.push_back(x.slice(0, start, x.size(0), stride).clone());
    }
  }
  sums.tokens += x.size(0);
}

InputMoments MomentsProbe::Finish(const Sums& sums) const {
  InputMoments moments;
  if (sums.tokens == 0) return moments;
  moments.sequences = sums.sequences;
  moments.tokens = sums.tokens;
  const double sequences = static_cast<double>(sums.sequences);
  moments.square_norm = sums.squares / sequences;
  moments.abs_mean = sums.absolutes / static_cast<double>(sums.tokens);
  moments.abs_max = sums.largest;
  if (needs_.hessian) moments.hessian = Mirrored(sums.products) * (2.0 / sequences);
  if (needs_.sample_tokens > 0) moments.sample = at::cat(sums.sample);
  return moments;
}

LayerInputs MomentsProbe::Finish() const {
  return {Finish(attention_), Finish(output_), Finish(mlp_), Finish(down_)};
}

const InputMoments& MomentsOf(const LayerInputs& inputs, MatrixSlot slot) {
  switch (slot) {
    case MatrixSlot::kO:
      return inputs.output;
    case MatrixSlot::kGate:
    case MatrixSlot::kUp:
      return inputs.mlp;
    case MatrixSlot::kDown:
      return inputs.down;
    default:
      return inputs.attention;
  }
}

}  // namespace attnlab
