// All variants of the registry as a list of types, for typed tests.
#pragma once

#include <gtest/gtest.h>

#include "kernels/all_weightings.h"

namespace attnlab::testing {

template <class First, class... Rest>
::testing::Types<Rest...> WithoutFirst(::testing::Types<First, Rest...>);

using RegisteredVariants = decltype(WithoutFirst(std::declval<::testing::Types<void
#define ATTNLAB_WEIGHTING(file, Type) , Type
#include "kernels/weightings.def"
#undef ATTNLAB_WEIGHTING
                                                                               >>()));

struct VariantNames {
  template <class Variant>
  static std::string GetName(int) {
    return Variant::kText.name;
  }
};

}  // namespace attnlab::testing
