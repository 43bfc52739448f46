#include "tests/report/markup.h"

#include <cctype>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace attnlab {
namespace {

bool NameChar(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == ':' || c == '_';
}

class Parser {
 public:
  explicit Parser(const std::string& page) : page_(page) {}

  Markup Parse() {
    if (absl::StartsWith(page_, "<!DOCTYPE ")) at_ = page_.find('>') + 1;
    while (at_ < page_.size() && markup_.error.empty()) {
      if (page_[at_] == '<') {
        Tag();
      } else {
        Text();
      }
    }
    if (!open_.empty() && markup_.error.empty()) Fail(absl::StrCat("open: ", open_.back()));
    return std::move(markup_);
  }

 private:
  void Fail(const std::string& what) {
    markup_.error = absl::StrCat(what, " at byte ", at_, ": ", page_.substr(at_, 60));
  }

  std::string Name() {
    const size_t begin = at_;
    while (at_ < page_.size() && NameChar(page_[at_])) ++at_;
    return page_.substr(begin, at_ - begin);
  }

  void Space() {
    while (at_ < page_.size() && std::isspace(static_cast<unsigned char>(page_[at_]))) ++at_;
  }

  void CheckEntity(size_t place) {
    size_t end = place + 1;
    while (end < page_.size() && (NameChar(page_[end]) || page_[end] == '#')) ++end;
    if (end == place + 1 || end >= page_.size() || page_[end] != ';') {
      at_ = place;
      Fail("stray &");
    }
  }

  void Text() {
    const size_t end = std::min(page_.find('<', at_), page_.size());
    for (size_t i = at_; i < end; ++i) {
      if (page_[i] == '&') CheckEntity(i);
    }
    markup_.text += page_.substr(at_, end - at_);
    if (markup_.error.empty()) at_ = end;
  }

  void Tag() {
    ++at_;
    if (at_ < page_.size() && page_[at_] == '/') {
      ++at_;
      const std::string name = Name();
      Space();
      if (open_.empty() || open_.back() != name) return Fail(absl::StrCat("closes ", name));
      open_.pop_back();
      if (page_[at_] != '>') return Fail("expected >");
      ++at_;
      return;
    }
    const std::string name = Name();
    if (name.empty()) return Fail("stray <");
    markup_.elements.push_back(name);
    if (!Attributes()) return;
    if (page_[at_] == '/') {
      ++at_;
    } else {
      open_.push_back(name);
    }
    if (at_ >= page_.size() || page_[at_] != '>') return Fail("expected >");
    ++at_;
  }

  bool Attributes() {
    std::set<std::string> seen;
    for (Space(); at_ < page_.size() && NameChar(page_[at_]); Space()) {
      const std::string name = Name();
      if (!seen.insert(name).second) return Fail("attribute twice"), false;
      Space();
      if (page_[at_] != '=') return Fail("attribute without a value"), false;
      ++at_;
      Space();
      const char quote = page_[at_];
      if (quote != '"' && quote != '\'') return Fail("attribute without quotes"), false;
      const size_t end = page_.find(quote, at_ + 1);
      if (end == std::string::npos) return Fail("open quote"), false;
      const std::string value = page_.substr(at_ + 1, end - at_ - 1);
      if (value.find('<') != std::string::npos) return Fail("< in an attribute"), false;
      if (name == "id" && !ids_.insert(value).second) return Fail("id twice: " + value), false;
      markup_.attributes.emplace_back(name, value);
      at_ = end + 1;
    }
    return true;
  }

  const std::string& page_;
  size_t at_ = 0;
  std::vector<std::string> open_;
  std::set<std::string> ids_;
  Markup markup_;
};

}  // namespace

Markup ReadMarkup(const std::string& page) { return Parser(page).Parse(); }

}  // namespace attnlab
