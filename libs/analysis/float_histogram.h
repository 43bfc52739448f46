// Counts of float32 values in fixed bins: two values share a bin when their sign, exponent and
// first seven bits of the mantissa agree. 65,536 bins cover every float, each at most 1/128 of its
// value wide; quantiles from it do not depend on the order or the number of the parts that were
// added.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace attnlab {

class FloatHistogram {
 public:
  void Add(absl::Span<const float> values);
  void Merge(const FloatHistogram& other);

  int64_t count() const { return count_; }

  // The value below which the share `p` in [0, 1] of the sample lies, linear inside a bin: off by
  // at most one bin (0.8 % of its value). NaN when empty.
  double Quantile(double p) const;

 private:
  int64_t count_ = 0;
  std::vector<int64_t> bins_;  // [65536] ascending by value; empty before the first Add
};

}  // namespace attnlab
