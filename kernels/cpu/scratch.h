// Memory that a lane keeps between kernels: one grown-only buffer per purpose and thread.
#pragma once

#include <cstddef>

#include "kernels/words.h"

namespace attnlab {

enum class Scratch {
  kQueries,
  kKeys,
  kValues,
  kOutGrads,
  kPackedKeys,
  kPackedValues,
  kScores,
  kGrads,
  kKeep,
  kSums,
  kQueryGrads,
  kKeyGrads,
  kValueGrads,
  kRows,
  kStates,
  kHeads,
  kLearned,
  kCount
};

// At least `bytes` bytes, aligned to 64, of this thread; contents undefined. Valid until the next
// call for the same purpose on this thread.
void* LaneScratch(Scratch purpose, size_t bytes);

template <class T>
ATTNLAB_HD T* LaneArray(Scratch purpose, size_t count) {
  return static_cast<T*>(LaneScratch(purpose, count * sizeof(T)));
}

}  // namespace attnlab
