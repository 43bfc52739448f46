#include "libs/eval/wikitext_text.h"

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "libs/eval/python_text.h"

namespace attnlab {
namespace {

// One pass of str.replace: left to right, what was put in is not looked at again.
void Replace(std::string& text, absl::string_view from, absl::string_view to) {
  absl::StrReplaceAll({{from, to}}, &text);
}

bool IsTitle(absl::string_view line) {
  std::string text(line);
  Replace(text, "= = =", "===");
  Replace(text, "= =", "==");
  const absl::string_view stripped = python::Strip(text);
  return absl::StartsWith(stripped, "= ") && absl::EndsWith(stripped, " =");
}

// Removes whitespace next to the inside of each pair `open` ... `close`; a pair ends at the first
// `close`, and an `open` without one stays as it is.
std::string StripInside(absl::string_view text, char open, char close) {
  std::string stripped;
  while (true) {
    const size_t begin = text.find(open);
    const size_t end = begin == text.npos ? text.npos : text.find(close, begin + 1);
    if (end == text.npos) break;
    stripped.append(text.data(), begin + 1);
    const absl::string_view inside = python::Strip(text.substr(begin + 1, end - begin - 1));
    stripped.append(inside.data(), inside.size());
    stripped.push_back(close);
    text.remove_prefix(end + 1);
  }
  stripped.append(text.data(), text.size());
  return stripped;
}

}  // namespace

std::vector<std::string> WikitextPages(absl::string_view raw) {
  std::vector<std::vector<absl::string_view>> pages(1);
  for (absl::string_view line : absl::StrSplit(raw, '\n')) {
    if (IsTitle(line)) pages.emplace_back();
    pages.back().push_back(line);
  }
  std::vector<std::string> joined;
  for (const std::vector<absl::string_view>& lines : pages) {
    std::string page = absl::StrJoin(lines, "\n");
    if (!python::Strip(page).empty()) joined.push_back(std::move(page));
  }
  return joined;
}

std::string WikitextDetokenize(absl::string_view page) {
  std::string text(page);
  Replace(text, "s '", "s'");
  for (char digit = '0'; digit <= '9'; ++digit) {
    Replace(text, std::string("/' ") + digit + "/", "/'[0-9]/");
  }
  Replace(text, " @-@ ", "-");
  Replace(text, " @,@ ", ",");
  Replace(text, " @.@ ", ".");
  for (const char* mark : {":", ";", ".", "!", "?", ","}) {
    Replace(text, std::string(" ") + mark + " ", std::string(mark) + " ");
  }
  text = StripInside(text, '(', ')');
  text = StripInside(text, '[', ']');
  text = StripInside(text, '{', '}');
  text = StripInside(text, '"', '"');
  text = StripInside(text, '\'', '\'');
  Replace(text, "= = = =", "====");
  Replace(text, "= = =", "===");
  Replace(text, "= =", "==");
  Replace(text, " \u00b0 ", "\u00b0");
  Replace(text, " \n", "\n");
  Replace(text, "\n ", "\n");
  Replace(text, " N ", " 1 ");
  Replace(text, " 's", "'s");
  return text;
}

std::string WikitextJoined(absl::string_view raw) {
  std::vector<std::string> rows;
  while (!raw.empty()) {
    const size_t end = raw.find('\n');
    const absl::string_view row = raw.substr(0, end == raw.npos ? raw.size() : end + 1);
    rows.emplace_back(python::Strip(row).empty() ? absl::string_view() : row);
    raw.remove_prefix(row.size());
  }
  return absl::StrJoin(rows, "\n\n");
}

}  // namespace attnlab
