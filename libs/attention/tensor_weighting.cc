#include "libs/attention/tensor_weighting.h"

#include "kernels/all_weightings.h"
#include "kernels/weighting_info.h"
#include "libs/core/check.h"

namespace attnlab {
namespace {

template <class Variant>
class OnTensors final : public TensorWeighting {
 public:
  explicit OnTensors(const AttentionOptions& options) {
    variant_.ForEach([&](const char* name, float& value, const char*) {
      if (auto it = options.constants.find(name); it != options.constants.end()) {
        value = static_cast<float>(it->second);
      }
    });
  }

  bool shifted() const override { return Variant::kTraits.shifted; }
  int learned_count() const override { return static_cast<int>(Variant::kLearned.size()); }

  Field Floor(const Row<Field>& row) const override { return variant_.Floor(row); }
  Field Tail(const Field& m, const Row<Field>& row) const override { return variant_.Tail(m, row); }
  Affine<Field> Score(const Row<Field>& row) const override { return ScoreOf(row); }
  Weights<Field> Weigh(const Field& s, const Field& m) const override {
    return variant_.Weigh(s, m);
  }

  Weights<Dual<Field>> WeighDual(const Field& s, const Field& m) const override {
    return variant_.Weigh(Dual<Field>(s, Field(1)), m);
  }
  Dual<Field> TailDual(const Field& m, const Row<Field>& row, int index) const override {
    return variant_.Tail(Dual<Field>(m, Field()), AlongLearned(row, index));
  }
  Affine<Dual<Field>> ScoreDual(const Row<Field>& row, int index) const override {
    return ScoreOf(AlongLearned(row, index));
  }

 private:
  template <class C>
  Affine<C> ScoreOf(const Row<C>& row) const {
    if constexpr (requires { variant_.Score(row); }) {
      return variant_.Score(row);
    } else {
      return {C(1.0f), C(0.0f), C(0.0f)};
    }
  }

  static Row<Dual<Field>> AlongLearned(const Row<Field>& row, int index) {
    Row<Dual<Field>> dual = {{row.position, Field()}, {row.visible, Field()}, {}};
    for (int i = 0; i < kMaxLearned; ++i) {
      dual.learned[i] = Dual<Field>(row.learned[i], Field(i == index ? 1 : 0));
    }
    return dual;
  }

  Variant variant_;
};

template <class Variant>
std::unique_ptr<const TensorWeighting> Make(const AttentionOptions& options) {
  return std::make_unique<OnTensors<Variant>>(options);
}

constexpr std::unique_ptr<const TensorWeighting> (*kMakers[])(const AttentionOptions&) = {
#define ATTNLAB_WEIGHTING(file, Type) Make<Type>,
#include "kernels/weightings.def"
#undef ATTNLAB_WEIGHTING
};

}  // namespace

std::unique_ptr<const TensorWeighting> MakeTensorWeighting(const AttentionOptions& options) {
  const auto index = FindWeighting(options.weighting);
  ATTNLAB_CHECK(index.has_value(), options.weighting);
  return kMakers[*index](options);
}

}  // namespace attnlab
