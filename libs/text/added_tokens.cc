#include "libs/text/added_tokens.h"

#include "libs/core/check.h"

namespace attnlab {

void AddedTokens::Add(absl::string_view content, int32_t id) {
  ATTNLAB_CHECK(!content.empty());
  first_[static_cast<uint8_t>(content[0])] = true;
  int32_t node = 0;
  for (const char c : content) {
    const auto [it, is_new] =
        nodes_[node].next.try_emplace(static_cast<uint8_t>(c), static_cast<int32_t>(nodes_.size()));
    node = it->second;
    if (is_new) nodes_.emplace_back();
  }
  if (nodes_[node].id < 0) nodes_[node].id = id;
}

std::pair<size_t, int32_t> AddedTokens::Match(absl::string_view text) const {
  std::pair<size_t, int32_t> best(0, -1);
  int32_t node = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto it = nodes_[node].next.find(static_cast<uint8_t>(text[i]));
    if (it == nodes_[node].next.end()) break;
    node = it->second;
    if (nodes_[node].id >= 0) best = {i + 1, nodes_[node].id};
  }
  return best;
}

}  // namespace attnlab
