// UTF-8: validation, replacement of what is ill-formed, normalization form C.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace attnlab {

// One code point at the start of `text`, which must not be empty. `length` is the number of bytes
// that it takes; when they are ill-formed, `valid` is false and they are the maximal subpart that
// one U+FFFD stands for (Unicode 15, section 3.9, "U+FFFD Substitution of Maximal Subparts").
struct DecodedChar {
  char32_t code;
  int length;
  bool valid;
};
DecodedChar DecodeUtf8(absl::string_view text);

bool IsValidUtf8(absl::string_view text);

// `text` itself when it is valid; else `storage`, filled with `text` whose ill-formed parts are
// U+FFFD.
absl::string_view ReplaceInvalidUtf8(absl::string_view text, std::string& storage);

// Normalization form C of valid UTF-8 (Unicode Standard Annex 15): `text` itself or `storage`.
absl::string_view NormalizeNfc(absl::string_view text, std::string& storage);

// The property White_Space.
bool IsUnicodeSpace(char32_t code);

}  // namespace attnlab
