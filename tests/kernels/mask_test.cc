#include "kernels/mask.h"

#include <gtest/gtest.h>

#include <vector>

namespace attnlab {
namespace {

// What the header promises, said without spans.
bool Promised(const Mask& mask, int64_t query, int64_t key) {
  const int64_t position = query + mask.query_offset;
  if (mask.causal && key > position) return false;
  if (mask.window > 0 && position - key >= mask.window && key >= mask.first_kept) return false;
  return mask.query_documents == nullptr || mask.query_documents[query] == mask.key_documents[key];
}

TEST(MaskTest, AgreesWithTheDefinition) {
  constexpr int64_t kQueries = 13, kKeys = 17;
  std::vector<int32_t> documents(kKeys);
  for (int64_t j = 0; j < kKeys; ++j) documents[j] = static_cast<int32_t>(j / 6);
  for (bool causal : {true, false}) {
    for (int64_t offset : {-5, 0, 4, 9}) {
      for (int64_t window : {0, 1, 5, 40}) {
        for (int64_t first : {0, 2, 7}) {
          for (bool packed : {true, false}) {
            Mask mask{causal, offset, window, first};
            if (packed) mask.query_documents = mask.key_documents = documents.data();
            for (int64_t i = 0; i < kQueries; ++i) {
              int64_t visible = 0;
              for (int64_t j = 0; j < kKeys; ++j) {
                EXPECT_EQ(mask.Sees(i, j, kKeys), Promised(mask, i, j)) << i << " " << j;
                visible += Promised(mask, i, j);
              }
              EXPECT_EQ(mask.CountVisible(i, kKeys), visible) << i;
            }
            for (int64_t i = 0; i < kQueries; i += 3) {
              for (int64_t j = 0; j < kKeys; j += 4) {
                const int64_t i_end = std::min(i + 3, kQueries), j_end = std::min(j + 4, kKeys);
                int64_t seen = 0;
                for (int64_t a = i; a < i_end; ++a) {
                  for (int64_t b = j; b < j_end; ++b) seen += Promised(mask, a, b);
                }
                const TileClass tile = mask.Classify(i, i_end, j, j_end, kKeys);
                if (tile == TileClass::kEmpty) {
                  EXPECT_EQ(seen, 0);
                } else if (tile == TileClass::kFull) {
                  EXPECT_EQ(seen, (i_end - i) * (j_end - j));
                } else if (!packed && seen == 0) {
                  // A partial tile may turn out empty only between the kept keys and the window.
                  EXPECT_GT(window, 0);
                }
              }
            }
          }
        }
      }
    }
  }
}

TEST(MaskTest, CausalTilesAreSharp) {
  const Mask mask;
  EXPECT_EQ(mask.Classify(0, 64, 64, 128, 256), TileClass::kEmpty);
  EXPECT_EQ(mask.Classify(0, 64, 0, 64, 256), TileClass::kPartial);
  EXPECT_EQ(mask.Classify(63, 127, 0, 64, 256), TileClass::kFull);
}

}  // namespace
}  // namespace attnlab
