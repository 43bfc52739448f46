// The text of WikiText-2 as lm-evaluation-harness scores it (task wikitext 2.0): pages of the raw
// file, and the detokeniser that removes the marks of its word tokenisation.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace attnlab {

// The pages of a raw file (wiki.test.raw): a line " = Title = " starts a page; lines before the
// first title are a page too.
std::vector<std::string> WikitextPages(absl::string_view raw);

// The text of a page that is scored.
std::string WikitextDetokenize(absl::string_view page);

// The rows of the raw file joined by blank lines, as GPTQ, Wanda and SmoothQuant score it.
std::string WikitextJoined(absl::string_view raw);

}  // namespace attnlab
