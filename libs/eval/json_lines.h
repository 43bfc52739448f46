// Files of one JSON object a line.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "libs/io/json.h"

namespace attnlab {

// Calls `use` with the object of each of the first `limit` lines (0: all); empty lines are skipped.
// `source` names the text in errors. InvalidArgument when there is no object at all.
absl::Status ForEachJsonLine(absl::string_view text, const std::string& source, int64_t limit,
                             const std::function<absl::Status(JsonRef)>& use);

}  // namespace attnlab
