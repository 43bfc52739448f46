#include "kernels/weighting_info.h"

#include <cmath>
#include <iterator>

#include "kernels/all_weightings.h"

namespace attnlab {
namespace {

template <class Variant>
bool TailFollows(const float* constants) {
  const Variant variant = WithConstants<Variant>(constants);
  for (const float learned : {-3.0f, 0.0f, 1.0f}) {
    Row<float> row = {10.0f, 11.0f, {}};
    for (float& value : row.learned) value = learned;
    const float tail = variant.Tail(0.0f, row), after = variant.Tail(1.0f, row);
    if (!(std::fabs(after - std::exp(-1.0f) * tail) <= 1e-5f + 1e-6f * tail)) return false;
  }
  return true;
}

template <class Variant>
WeightingInfo Describe() {
  static_assert(std::size(Variant::kLearned) <= kMaxLearned);
  WeightingInfo info{Variant::kText, Variant::kTraits, HasScore<Variant>, {}, {},
                     TailFollows<Variant>};
  Variant().ForEach([&](const char* name, float value, const char* help) {
    info.constants.push_back({name, value, help});
  });
  info.learned.assign(Variant::kLearned.begin(), Variant::kLearned.end());
  return info;
}

}  // namespace

std::span<const WeightingInfo> Weightings() {
  static const auto& infos = *new std::vector<WeightingInfo>{
#define ATTNLAB_WEIGHTING(file, Type) Describe<Type>(),
#include "kernels/weightings.def"
#undef ATTNLAB_WEIGHTING
  };
  return infos;
}

std::optional<int> FindWeighting(std::string_view name) {
  const auto infos = Weightings();
  for (int i = 0; i < static_cast<int>(infos.size()); ++i) {
    if (infos[i].text.name == name) return i;
  }
  return std::nullopt;
}

}  // namespace attnlab
