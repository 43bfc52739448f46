// Splits text with a regular expression, as the pre-tokenizers of byte-level BPE do (PCRE2, hidden
// in split_pattern.cc, compiled to machine code).
#pragma once

#include <memory>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace attnlab {

// Safe to use from several threads at once.
class SplitPattern {
 public:
  // InvalidArgument with the offset when `source` does not compile.
  static absl::StatusOr<std::unique_ptr<SplitPattern>> Compile(absl::string_view source);
  ~SplitPattern();

  // The pattern of GPT-2: contractions, then letters, digits or other signs with at most one space
  // before them, then spaces.
  static std::unique_ptr<SplitPattern> Gpt2();

  // Calls piece(part) for each match and for each gap between matches, in order; the parts join to
  // `text`, which must be valid UTF-8. Where the matcher gives up (PCRE2's limits, on a pattern
  // made to exhaust them) the rest of the text is one part.
  void Split(absl::string_view text, absl::FunctionRef<void(absl::string_view)> piece) const;

 private:
  struct Impl;
  explicit SplitPattern(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace attnlab
