#include "libs/core/rng.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numbers>

#include "libs/core/check.h"

namespace attnlab {
namespace {

uint64_t SplitMix(uint64_t& state) {
  uint64_t z = (state += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

}  // namespace

uint64_t StreamSeed(uint64_t seed, absl::string_view name, uint64_t index) {
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a of the name
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  uint64_t state = seed;
  state = SplitMix(state) ^ hash;
  state = SplitMix(state) ^ index;
  return SplitMix(state);
}

Rng::Rng(uint64_t seed, absl::string_view name, uint64_t index) {
  uint64_t state = StreamSeed(seed, name, index);
  for (uint64_t& word : state_) word = SplitMix(state);
}

uint64_t Rng::Next() {
  const uint64_t result = std::rotl(state_[0] + state_[3], 23) + state_[0];
  const uint64_t t = state_[1] << 17;
  state_[2] ^= state_[0];
  state_[3] ^= state_[1];
  state_[1] ^= state_[2];
  state_[0] ^= state_[3];
  state_[2] ^= t;
  state_[3] = std::rotl(state_[3], 45);
  return result;
}

uint64_t Rng::Below(uint64_t bound) {
  ATTNLAB_CHECK(bound > 0);
  const uint64_t threshold = (0 - bound) % bound;  // 2^64 mod bound
  for (;;) {
    if (const uint64_t value = Next(); value >= threshold) return value % bound;
  }
}

double Rng::Uniform() { return static_cast<double>(Next() >> 11) * 0x1p-53; }

double Rng::Normal() {
  const double radius = std::sqrt(-2 * std::log(1 - Uniform()));
  return radius * std::cos(2 * std::numbers::pi * Uniform());
}

size_t Rng::FromCumulative(const std::vector<double>& cumulative) {
  ATTNLAB_CHECK(!cumulative.empty());
  const auto it =
      std::upper_bound(cumulative.begin(), cumulative.end(), Uniform() * cumulative.back());
  return std::min<size_t>(it - cumulative.begin(), cumulative.size() - 1);
}

}  // namespace attnlab
