// Text as Python's str sees it: the whitespace of str.split, str.strip and \s, over UTF-8. Only the
// evaluation harness of others makes the project need it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace attnlab::python {

// The code point at the start of `text` (not empty) and its bytes; a byte that starts no
// well-formed sequence counts as one code point of its own.
struct CodePoint {
  uint32_t value;
  size_t bytes;
};
CodePoint Front(absl::string_view text);

bool IsSpace(uint32_t code_point);

// Bytes of whitespace at the start and at the end of `text`.
size_t LeadingSpace(absl::string_view text);
size_t TrailingSpace(absl::string_view text);

absl::string_view Strip(absl::string_view text);   // str.strip()
absl::string_view RStrip(absl::string_view text);  // str.rstrip()
absl::string_view LStrip(absl::string_view text);  // str.lstrip()

int64_t Length(absl::string_view text);  // len(text): code points

// len(re.split(r"\s+", text)): runs of whitespace + 1, so that empty strings at the ends count.
int64_t SplitCount(absl::string_view text);

}  // namespace attnlab::python
