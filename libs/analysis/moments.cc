#include "libs/analysis/moments.h"

#include <algorithm>
#include <cmath>

namespace attnlab {

Moments Moments::Of(absl::Span<const float> values) {
  Moments moments;
  if (values.empty()) return moments;
  double sum = 0;
  for (float value : values) {
    sum += value;
    moments.min_ = std::min<double>(moments.min_, value);
    moments.max_ = std::max<double>(moments.max_, value);
  }
  moments.count_ = static_cast<int64_t>(values.size());
  moments.mean_ = sum / moments.count_;
  for (float value : values) {
    const double deviation = value - moments.mean_;
    const double square = deviation * deviation;
    moments.sum2_ += square;
    moments.sum3_ += square * deviation;
    moments.sum4_ += square * square;
  }
  return moments;
}

void Moments::Merge(const Moments& other) {
  if (other.count_ == 0) return;
  if (count_ == 0) {
    *this = other;
    return;
  }
  const double na = count_, nb = other.count_, n = na + nb;
  const double delta = other.mean_ - mean_, step = delta / n;
  const double square = step * step;
  sum4_ += other.sum4_ + delta * square * step * na * nb * (na * na - na * nb + nb * nb) +
           6 * square * (na * na * other.sum2_ + nb * nb * sum2_) +
           4 * step * (na * other.sum3_ - nb * sum3_);
  sum3_ += other.sum3_ + delta * square * na * nb * (na - nb) +
           3 * step * (na * other.sum2_ - nb * sum2_);
  sum2_ += other.sum2_ + delta * step * na * nb;
  mean_ += step * nb;
  count_ += other.count_;
  min_ = std::min(min_, other.min_);
  max_ = std::max(max_, other.max_);
}

double Moments::max_abs() const {
  return count_ == 0 ? 0 : std::max(std::abs(min_), std::abs(max_));
}

double Moments::Variance() const { return sum2_ / count_; }

double Moments::FourthMoment() const { return sum4_ / count_; }

double Moments::RawFourthMoment() const {
  const double square = mean_ * mean_;
  return square * square + 6 * square * Variance() + 4 * mean_ * sum3_ / count_ + FourthMoment();
}

double Moments::UnbiasedVariance() const { return sum2_ / (count_ - 1); }

double Moments::Kurtosis() const { return FourthMoment() / (Variance() * Variance()); }

}  // namespace attnlab
