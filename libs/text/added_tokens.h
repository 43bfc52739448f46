// Added tokens: strings that become one id before anything else looks at the text, such as
// "<|endoftext|>" or a run of 24 spaces. The leftmost match wins, then the longest.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"

namespace attnlab {

class AddedTokens {
 public:
  // `content` must not be empty; the first id given to a string stays.
  void Add(absl::string_view content, int32_t id);
  bool empty() const { return nodes_.size() == 1; }

  // Calls part(text, -1) for text between matches (never empty) and part(match, id) for matches.
  template <class Part>
  void Split(absl::string_view text, Part&& part) const {
    if (empty()) {
      if (!text.empty()) part(text, -1);
      return;
    }
    size_t from = 0;
    for (size_t at = 0; at < text.size();) {
      const auto [length, id] = first_[static_cast<uint8_t>(text[at])]
                                    ? Match(text.substr(at))
                                    : std::pair<size_t, int32_t>(0, -1);
      if (length == 0) {
        ++at;
        continue;
      }
      if (from < at) part(text.substr(from, at - from), -1);
      part(text.substr(at, length), id);
      from = at += length;
    }
    if (from < text.size()) part(text.substr(from), -1);
  }

 private:
  struct Node {
    int32_t id = -1;
    absl::flat_hash_map<uint8_t, int32_t> next;
  };
  // The longest token that `text` begins with: its length and id, or {0, -1}.
  std::pair<size_t, int32_t> Match(absl::string_view text) const;

  std::vector<Node> nodes_ = std::vector<Node>(1);  // a trie; 0 is the root
  std::vector<bool> first_ = std::vector<bool>(256);
};

}  // namespace attnlab
