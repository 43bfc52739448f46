#include "libs/eval/json_lines.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "libs/core/status.h"

namespace attnlab {

absl::Status ForEachJsonLine(absl::string_view text, const std::string& source, int64_t limit,
                             const std::function<absl::Status(JsonRef)>& use) {
  int64_t used = 0, number = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    if (absl::StripAsciiWhitespace(line).empty()) continue;
    if (limit > 0 && used == limit) break;
    const std::string place = absl::StrCat(source, ":", number);
    ATTNLAB_ASSIGN_OR_RETURN(const Json object, Json::Parse(line, place));
    ATTNLAB_RETURN_IF_ERROR(use(JsonRef(object, place)));
    ++used;
  }
  if (used == 0) return absl::InvalidArgumentError(absl::StrCat(source, " holds no documents"));
  return absl::OkStatus();
}

}  // namespace attnlab
