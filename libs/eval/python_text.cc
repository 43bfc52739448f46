#include "libs/eval/python_text.h"

namespace attnlab::python {
namespace {

bool IsContinuation(char c) { return (static_cast<uint8_t>(c) & 0xC0) == 0x80; }

}  // namespace

CodePoint Front(absl::string_view text) {
  const uint8_t lead = text[0];
  if (lead < 0x80) return {lead, 1};
  const size_t bytes = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 1;
  if (bytes == 1 || text.size() < bytes) return {0xFFFD, 1};
  uint32_t value = lead & (0x7F >> bytes);
  for (size_t i = 1; i < bytes; ++i) {
    if (!IsContinuation(text[i])) return {0xFFFD, 1};
    value = value << 6 | (text[i] & 0x3F);
  }
  return {value, bytes};
}

bool IsSpace(uint32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
         c == 0x205F || c == 0x3000;
}

size_t LeadingSpace(absl::string_view text) {
  size_t bytes = 0;
  while (bytes < text.size()) {
    const CodePoint front = Front(text.substr(bytes));
    if (!IsSpace(front.value)) break;
    bytes += front.bytes;
  }
  return bytes;
}

size_t TrailingSpace(absl::string_view text) {
  size_t end = text.size();
  while (end > 0) {
    size_t begin = end - 1;
    while (begin > 0 && end - begin < 4 && IsContinuation(text[begin])) --begin;
    const CodePoint front = Front(text.substr(begin));
    if (front.bytes != end - begin || !IsSpace(front.value)) break;
    end = begin;
  }
  return text.size() - end;
}

absl::string_view Strip(absl::string_view text) { return LStrip(RStrip(text)); }

absl::string_view RStrip(absl::string_view text) {
  return text.substr(0, text.size() - TrailingSpace(text));
}

absl::string_view LStrip(absl::string_view text) { return text.substr(LeadingSpace(text)); }

int64_t Length(absl::string_view text) {
  int64_t length = 0;
  for (; !text.empty(); ++length) text.remove_prefix(Front(text).bytes);
  return length;
}

int64_t SplitCount(absl::string_view text) {
  int64_t count = 1;
  while (!text.empty()) {
    const size_t space = LeadingSpace(text);
    count += space > 0;
    text.remove_prefix(space > 0 ? space : Front(text).bytes);
  }
  return count;
}

}  // namespace attnlab::python
