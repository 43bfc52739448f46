#include "libs/text/split_pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/core/check.h"
#include "libs/core/status.h"

namespace attnlab {
namespace {

struct FreeMatchData {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};

// \s and \S as Oniguruma and Rust read them: the property White_Space. PCRE2's own \s also takes
// U+180E, which lost that property in Unicode 6.3.
std::string WithUnicodeSpaces(absl::string_view pattern) {
  std::string out;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const absl::string_view pair = pattern.substr(i, 2);
    if (pair == "\\s" || pair == "\\S") {
      absl::StrAppend(&out, pair == "\\s" ? "\\p" : "\\P", "{White_Space}");
      ++i;
    } else if (pair.size() == 2 && pair[0] == '\\') {
      absl::StrAppend(&out, pair);
      ++i;
    } else {
      out.push_back(pattern[i]);
    }
  }
  return out;
}

}  // namespace

struct SplitPattern::Impl {
  pcre2_code* code = nullptr;
  ~Impl() { pcre2_code_free(code); }
};

SplitPattern::SplitPattern(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SplitPattern::~SplitPattern() = default;

absl::StatusOr<std::unique_ptr<SplitPattern>> SplitPattern::Compile(absl::string_view source) {
  const std::string pattern = WithUnicodeSpaces(source);
  auto impl = std::make_unique<Impl>();
  int error = 0;
  PCRE2_SIZE offset = 0;
  impl->code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &offset, nullptr);
  if (impl->code == nullptr) {
    PCRE2_UCHAR message[256];
    pcre2_get_error_message(error, message, sizeof message);
    return absl::InvalidArgumentError(absl::StrCat("pattern ", source, ": at offset ", offset, ": ",
                                                   reinterpret_cast<char*>(message)));
  }
  pcre2_jit_compile(impl->code, PCRE2_JIT_COMPLETE);  // without it matching is only slower
  return std::unique_ptr<SplitPattern>(new SplitPattern(std::move(impl)));
}

std::unique_ptr<SplitPattern> SplitPattern::Gpt2() {
  auto compiled =
      Compile(R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)");
  ATTNLAB_CHECK(compiled.ok(), std::string(compiled.status().message()));
  return *std::move(compiled);
}

void SplitPattern::Split(absl::string_view text,
                         absl::FunctionRef<void(absl::string_view)> piece) const {
  const std::unique_ptr<pcre2_match_data, FreeMatchData> match(pcre2_match_data_create(1, nullptr));
  const PCRE2_SIZE* range = pcre2_get_ovector_pointer(match.get());
  size_t from = 0;  // what is before went to `piece`
  for (size_t at = 0; at <= text.size();) {
    const int rc = pcre2_match(impl_->code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                               at, PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, match.get(), nullptr);
    if (rc < 0) break;
    if (from < range[0]) piece(text.substr(from, range[0] - from));
    piece(text.substr(range[0], range[1] - range[0]));
    from = at = range[1];
  }
  if (from < text.size()) piece(text.substr(from));
}

}  // namespace attnlab
