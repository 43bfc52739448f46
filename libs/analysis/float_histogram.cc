#include "libs/analysis/float_histogram.h"

#include <bit>
#include <cmath>
#include <limits>

namespace attnlab {
namespace {

constexpr uint32_t kHalf = 1 << 15;  // bins of one sign

// Negative values count down from kHalf - 1, positive ones up from kHalf.
uint32_t BinOf(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value) >> 16;
  return bits & kHalf ? kHalf - 1 - (bits & (kHalf - 1)) : kHalf + bits;
}

// The edge of bin `bin` that is nearer to 0 (`outer` false) or farther from it.
double Edge(uint32_t bin, bool outer) {
  const bool negative = bin < kHalf;
  const uint32_t magnitude = (negative ? kHalf - 1 - bin : bin - kHalf) + (outer ? 1 : 0);
  const double edge = std::bit_cast<float>(magnitude << 16);
  return negative ? -edge : edge;
}

}  // namespace

void FloatHistogram::Add(absl::Span<const float> values) {
  if (bins_.empty()) bins_.resize(2 * kHalf);
  for (float value : values) ++bins_[BinOf(value)];
  count_ += static_cast<int64_t>(values.size());
}

void FloatHistogram::Merge(const FloatHistogram& other) {
  if (other.count_ == 0) return;
  if (bins_.empty()) bins_.resize(2 * kHalf);
  for (size_t i = 0; i < bins_.size(); ++i) bins_[i] += other.bins_[i];
  count_ += other.count_;
}

double FloatHistogram::Quantile(double p) const {
  if (count_ == 0) return std::numeric_limits<double>::quiet_NaN();
  const double rank = p * static_cast<double>(count_ - 1);
  int64_t below = 0;
  for (uint32_t bin = 0; bin < bins_.size(); ++bin) {
    if (bins_[bin] == 0 || rank >= static_cast<double>(below + bins_[bin])) {
      below += bins_[bin];
      continue;
    }
    const double low = Edge(bin, bin < kHalf), high = Edge(bin, bin >= kHalf);
    return low + (high - low) * (rank - below + 0.5) / bins_[bin];
  }
  return std::numeric_limits<double>::quiet_NaN();
}

}  // namespace attnlab
