#include "libs/text/utf8.h"

#include <utf8proc.h>

#include <cstring>
#include <vector>

#include "libs/core/check.h"

namespace attnlab {
namespace {

constexpr absl::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

// The first offset >= `from` whose byte is not ASCII, or the size.
size_t SkipAscii(absl::string_view text, size_t from) {
  uint64_t word;
  for (; from + sizeof word <= text.size(); from += sizeof word) {
    std::memcpy(&word, text.data() + from, sizeof word);
    if (word & 0x8080808080808080) break;
  }
  while (from < text.size() && static_cast<uint8_t>(text[from]) < 0x80) ++from;
  return from;
}

// The first offset of an ill-formed part, or the size.
size_t SkipValid(absl::string_view text, size_t from) {
  while ((from = SkipAscii(text, from)) < text.size()) {
    const DecodedChar c = DecodeUtf8(text.substr(from));
    if (!c.valid) return from;
    from += c.length;
  }
  return from;
}

// Code points that neither change under form C nor join their neighbours: everything below the
// combining marks, and the dashes, quotation marks and dots of general punctuation.
bool IsInert(char32_t code) { return code < 0x300 || (code >= 0x2010 && code <= 0x2027); }

void AppendNfc(absl::string_view part, std::vector<utf8proc_int32_t>& buffer, std::string& out) {
  // Canonical decomposition makes at most four code points of one; their UTF-8 fits the same room.
  buffer.resize(4 * part.size() + 4);
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE);
  const utf8proc_ssize_t codes =
      utf8proc_decompose(reinterpret_cast<const utf8proc_uint8_t*>(part.data()), part.size(),
                         buffer.data(), buffer.size(), options);
  ATTNLAB_CHECK(codes >= 0 && codes < static_cast<utf8proc_ssize_t>(buffer.size()));
  const utf8proc_ssize_t bytes = utf8proc_reencode(buffer.data(), codes, options);
  ATTNLAB_CHECK(bytes >= 0);
  out.append(reinterpret_cast<const char*>(buffer.data()), bytes);
}

}  // namespace

DecodedChar DecodeUtf8(absl::string_view text) {
  const auto byte = [&](size_t i) -> uint8_t { return i < text.size() ? text[i] : 0; };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return {lead, 1, true};
  if (lead < 0xC2 || lead > 0xF4) return {0xFFFD, 1, false};
  const int length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  // The second byte has a narrower range after some leads: no overlong forms, no surrogates,
  // nothing above U+10FFFF.
  uint8_t low = 0x80, high = 0xBF;
  if (lead == 0xE0) low = 0xA0;
  if (lead == 0xED) high = 0x9F;
  if (lead == 0xF0) low = 0x90;
  if (lead == 0xF4) high = 0x8F;
  char32_t code = lead & (0x7F >> length);
  for (int i = 1; i < length; ++i, low = 0x80, high = 0xBF) {
    const uint8_t next = byte(i);
    if (next < low || next > high) return {0xFFFD, i, false};
    code = code << 6 | (next & 0x3F);
  }
  return {code, length, true};
}

bool IsValidUtf8(absl::string_view text) { return SkipValid(text, 0) == text.size(); }

absl::string_view ReplaceInvalidUtf8(absl::string_view text, std::string& storage) {
  size_t valid = SkipValid(text, 0);
  if (valid == text.size()) return text;
  storage.clear();
  size_t from = 0;
  while (valid < text.size()) {
    storage.append(text.data() + from, valid - from);
    storage.append(kReplacement.data(), kReplacement.size());
    from = valid + DecodeUtf8(text.substr(valid)).length;
    valid = SkipValid(text, from);
  }
  storage.append(text.data() + from, valid - from);
  return storage;
}

absl::string_view NormalizeNfc(absl::string_view text, std::string& storage) {
  storage.clear();
  std::vector<utf8proc_int32_t> buffer;
  size_t copied = 0;    // text before this offset is in `storage`
  size_t previous = 0;  // offset of the last code point read
  for (size_t at = 0; at < text.size();) {
    if (const size_t after = SkipAscii(text, at); after > at) {
      previous = after - 1;
      at = after;
      continue;
    }
    DecodedChar c = DecodeUtf8(text.substr(at));
    if (IsInert(c.code)) {
      previous = at;
      at += c.length;
      continue;
    }
    // The part that may change: from the character before (marks join it) to the next inert one.
    const size_t begin = std::max(previous, copied);
    while (at < text.size() && !IsInert((c = DecodeUtf8(text.substr(at))).code)) at += c.length;
    storage.append(text.data() + copied, begin - copied);
    AppendNfc(text.substr(begin, at - begin), buffer, storage);
    copied = previous = at;
  }
  if (copied == 0) return text;
  storage.append(text.data() + copied, text.size() - copied);
  return storage;
}

bool IsUnicodeSpace(char32_t code) {
  return (code >= 0x09 && code <= 0x0D) || code == 0x20 || code == 0x85 || code == 0xA0 ||
         code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 ||
         code == 0x202F || code == 0x205F || code == 0x3000;
}

}  // namespace attnlab
