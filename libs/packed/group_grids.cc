#include "libs/packed/group_grids.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cstdint>

#include "absl/strings/str_format.h"

namespace attnlab {
namespace {

constexpr int64_t kTile = 64;

struct Grids {
  const uint8_t* codes;
  const float *zeros, *scales;
  const int64_t* group;
  int64_t in, out;
};

// Outputs [first, first + height) of inputs [begin, begin + width): at most a tile each way.
void FillTile(const Grids& grids, int64_t first, int64_t height, int64_t begin, int64_t width,
              float* numbers) {
  float tile[kTile][kTile];  // by input
  for (int64_t j = 0; j < width; ++j) {
    const uint8_t* codes = grids.codes + (begin + j) * grids.out + first;
    const int64_t grid = grids.group[begin + j] * grids.out + first;
    const float *zeros = grids.zeros + grid, *scales = grids.scales + grid;
    for (int64_t i = 0; i < height; ++i) tile[j][i] = (codes[i] - zeros[i]) * scales[i];
  }
  for (int64_t i = 0; i < height; ++i) {
    float* row = numbers + (first + i) * grids.in + begin;
    for (int64_t j = 0; j < width; ++j) row[j] = tile[j][i];
  }
}

}  // namespace

absl::StatusOr<at::Tensor> Float16Scales(const at::Tensor& scales) {
  const at::Tensor half = scales.to(at::kHalf);
  if (half.isfinite().all().item<bool>()) return half;
  return absl::InvalidArgumentError(absl::StrFormat(
      "a scale of %g does not fit float16 (at most 65504), in which this layout keeps scales: the "
      "weights are too large; use a method that keeps float32, such as bnb_nf4",
      scales.abs().max().item<double>()));
}

at::Tensor NumbersOfGrids(const at::Tensor& codes, const at::Tensor& zeros,
                          const at::Tensor& scales, const at::Tensor& group) {
  if (!codes.is_cpu()) {
    return (codes.to(at::kFloat) - zeros.index_select(0, group))
        .mul_(scales.index_select(0, group))
        .t()
        .contiguous();
  }
  const int64_t in = codes.size(0), out = codes.size(1);
  at::Tensor numbers = at::empty({out, in}, at::kFloat);
  float* to = numbers.mutable_data_ptr<float>();
  const at::Tensor held[] = {codes.contiguous(), zeros.contiguous(), scales.contiguous(),
                             group.contiguous()};
  const Grids grids = {held[0].const_data_ptr<uint8_t>(),
                       held[1].const_data_ptr<float>(),
                       held[2].const_data_ptr<float>(),
                       held[3].const_data_ptr<int64_t>(),
                       in,
                       out};
  at::parallel_for(0, (out + kTile - 1) / kTile, 1, [&](int64_t from, int64_t until) {
    for (int64_t first = from * kTile; first < std::min(until * kTile, out); first += kTile) {
      for (int64_t begin = 0; begin < in; begin += kTile) {
        FillTile(grids, first, std::min(kTile, out - first), begin, std::min(kTile, in - begin),
                 to);
      }
    }
  });
  return numbers;
}

}  // namespace attnlab
