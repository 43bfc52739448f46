// Named streams of random numbers from one seed: what a part of a run draws depends on (seed, name,
// index) alone, so adding a draw in one place changes no other. SplitMix64 seeds xoshiro256++
// (Blackman, Vigna 2019); the same numbers on every machine.
#pragma once

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

namespace attnlab {

class Rng {
 public:
  // The stream `name` of `seed`; `index` tells its members apart (a step, an epoch, a layer).
  Rng(uint64_t seed, absl::string_view name, uint64_t index = 0);

  uint64_t Next();                 // uniform over all 64-bit values
  uint64_t Below(uint64_t bound);  // uniform in [0, bound), bound > 0, without bias
  double Uniform();                // [0, 1), 53 bits
  double Normal();                 // mean 0, variance 1

  // Index drawn with probability weights[i] / sum; `cumulative` holds the running sums.
  size_t FromCumulative(const std::vector<double>& cumulative);

  template <class T>
  void Shuffle(std::vector<T>& values) {
    for (size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[Below(i)]);
  }

 private:
  std::array<uint64_t, 4> state_;
};

// A 64-bit seed for the stream (seed, name, index), for generators of other libraries.
uint64_t StreamSeed(uint64_t seed, absl::string_view name, uint64_t index = 0);

}  // namespace attnlab
