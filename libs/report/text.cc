#include "libs/report/text.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "libs/io/result_names.h"

namespace attnlab {
namespace {

// Length of the UTF-8 sequence at `i`, 0 when there is no valid one (overlong forms, surrogates and
// values above U+10FFFF are not valid).
size_t SequenceLength(const std::string& text, size_t i) {
  const auto byte = [&](size_t k) { return k < text.size() ? static_cast<uint8_t>(text[k]) : 0u; };
  const uint32_t first = byte(i);
  const size_t length = first < 0x80   ? 1
                        : first < 0xc2 ? 0
                        : first < 0xe0 ? 2
                        : first < 0xf0 ? 3
                        : first < 0xf5 ? 4
                                       : 0;
  for (size_t k = 1; k < length; ++k) {
    if ((byte(i + k) & 0xc0) != 0x80) return 0;
  }
  const uint32_t second = byte(i + 1);
  if (first == 0xe0 && second < 0xa0) return 0;
  if (first == 0xed && second > 0x9f) return 0;
  if (first == 0xf0 && second < 0x90) return 0;
  if (first == 0xf4 && second > 0x8f) return 0;
  return length;
}

}  // namespace

std::string CleanText(const std::string& text) {
  std::string clean;
  for (size_t i = 0; i < text.size();) {
    const size_t length = SequenceLength(text, i);
    const auto byte = static_cast<uint8_t>(text[i]);
    // U+FFFE and U+FFFF are no characters of XML.
    const bool none = length == 3 && (text.compare(i, 3, "\xef\xbf\xbe") == 0 ||
                                      text.compare(i, 3, "\xef\xbf\xbf") == 0);
    if (length == 0 || none) {
      clean += "\xef\xbf\xbd";
    } else if (byte < 0x20 || byte == 0x7f) {
      clean += ' ';
    } else {
      clean.append(text, i, length);
    }
    i += std::max<size_t>(length, 1);
  }
  return clean;
}

std::string EscapeHtml(const std::string& text) {
  return absl::StrReplaceAll(
      CleanText(text),
      {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}, {"'", "&#39;"}});
}

std::string EscapeMarkdown(const std::string& text) {
  return absl::StrReplaceAll(CleanText(text), {{"\\", "\\\\"},
                                               {"|", "\\|"},
                                               {"*", "\\*"},
                                               {"`", "\\`"},
                                               {"[", "\\["},
                                               {"<", "&lt;"},
                                               {"&", "&amp;"}});
}

std::string FormatNumber(double value, const std::string& unit, int digits) {
  if (std::isnan(value)) return "–";
  if (std::isinf(value)) return value > 0 ? "∞" : "−∞";
  std::string text;
  if (unit == "fraction") {
    text = absl::StrFormat("%.2f %%", 100 * value);
  } else if (value == std::round(value) && std::abs(value) < 1e7) {
    text = absl::StrFormat("%d", static_cast<int64_t>(value));
  } else if (std::abs(value) >= 1e7 || std::abs(value) < 1e-3) {
    text = absl::StrFormat("%.*e", std::max(digits - 2, 1), value);
  } else {
    const int before = static_cast<int>(std::floor(std::log10(std::abs(value)))) + 1;
    text = absl::StrFormat("%.*f", std::clamp(digits - before, 0, digits), value);
  }
  return absl::StrReplaceAll(text, {{"-", "−"}});
}

std::string FormatRange(const std::vector<double>& values, const std::string& unit) {
  if (values.empty()) return "";
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  const std::string from = FormatNumber(*low, unit), to = FormatNumber(*high, unit);
  return from == to ? "" : absl::StrCat(from, " … ", to);
}

std::string ShortTitle(const std::string& name) {
  static constexpr std::pair<const char*, const char*> kTitles[] = {
      {names::kFinalLoss, "held-out loss"},
      {names::kBackcopyLoss, "back-copy loss"},
      {names::kBigramLoss, "bigram loss"},
      {names::kPerplexity, "perplexity"},
      {names::kBitsPerByte, "bits per byte"},
      {names::kBosAttention, "BOS attention, strongest head"},
      {names::kBosValueNorm, "BOS value norm"},
      {names::kFirstKeyMass, "attention on first key"},
      {names::kActivationMin, "min"},
      {names::kActivationMax, "max"},
      {names::kZeroShare, "exact zeros"},
      {"kurtosis_pooled", "kurtosis"},
      {"dead_heads_1e-06", "dead heads"},
      {"dead_heads_0.01", "dead heads, ε 0.01"}};
  for (const auto& [known, title] : kTitles) {
    if (name == known) return title;
  }
  const std::vector<std::string> parts = absl::StrSplit(name, '_');
  if (parts.size() == 4 && absl::StartsWith(name, names::kSinkRate) &&
      absl::StartsWith(parts[3], "T"))
    return absl::StrCat("sink rate, ε ", parts[2], ", T ", parts[3].substr(1));
  return absl::StrReplaceAll(name, {{"_", " "}});
}

std::string LabelOf(const std::string& name, const std::string& label) {
  return label.empty() ? ShortTitle(name) : label;
}

}  // namespace attnlab
