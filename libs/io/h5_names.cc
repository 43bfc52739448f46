// Any text as the name of a link of HDF5, and back.
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "libs/io/h5.h"

namespace attnlab::h5 {

std::string EncodeName(const std::string& name) {
  std::string link;
  for (const char c : name) {
    if (c == '/' || c == '%' || (c == '.' && link.empty()) || c == '\0') {
      absl::StrAppend(&link, "%", absl::Hex(static_cast<uint8_t>(c), absl::kZeroPad2));
    } else {
      link.push_back(c);
    }
  }
  return link.empty() ? "%" : link;
}

std::string DecodeName(const std::string& link) {
  if (link == "%") return "";
  std::string name;
  for (size_t i = 0; i < link.size(); ++i) {
    int code = 0;
    if (link[i] == '%' && i + 2 < link.size() &&
        absl::SimpleHexAtoi(link.substr(i + 1, 2), &code)) {
      name.push_back(static_cast<char>(code));
      i += 2;
    } else {
      name.push_back(link[i]);
    }
  }
  return name;
}

}  // namespace attnlab::h5
