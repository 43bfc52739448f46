// A strict reader of markup, for tests of what the report writes.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace attnlab {

struct Markup {
  std::string error;                                            // "" when it is well-formed
  std::vector<std::string> elements;                            // names, in order
  std::vector<std::pair<std::string, std::string>> attributes;  // name, value
  std::string text;  // outside of tags, entities as written
};

// Elements closed in order, attributes quoted and unique in their element, no stray < or &, ids
// unique in the page. One <!DOCTYPE ...> may stand first.
Markup ReadMarkup(const std::string& page);

}  // namespace attnlab
