// The registry as data: what recipes, --list, tables and tests need to know of each line of
// kernels/weightings.def without its formula.
#pragma once

#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "kernels/weighting.h"

namespace attnlab {

struct ConstantInfo {
  const char* name;
  float value;  // default
  const char* help;
};

struct WeightingInfo {
  WeightingText text;
  Traits traits;
  bool maps_scores;                     // it has a Score of its own
  std::vector<ConstantInfo> constants;  // at most kMaxConstants, in the order of Problem::constants
  std::vector<Learned> learned;         // at most kMaxLearned, in the order of Problem::learned
  // Whether, with these constants, Tail obeys the shift law too, or is so small that nobody could
  // tell from 16-bit results. Then any shift gives the same rows, not only the maximum.
  bool (*tail_follows)(const float* constants);
};

// Every variant, in the order of the registry.
std::span<const WeightingInfo> Weightings();

// The place of `name` in Weightings(), if it is there.
std::optional<int> FindWeighting(std::string_view name);

}  // namespace attnlab
