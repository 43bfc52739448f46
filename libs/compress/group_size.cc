#include "libs/compress/group_size.h"

#include <string>

#include "libs/compress/method.h"
#include "libs/core/status.h"

namespace attnlab {

absl::Status CheckGroupSize(const ModelConfig& config, int64_t group_size) {
  return CheckMatrices(
      config, [&](const std::string& name, int64_t /*rows*/, int64_t cols) -> absl::Status {
        if (group_size == 0 || (group_size > 0 && cols % group_size == 0)) return absl::OkStatus();
        return absl::InvalidArgumentError(absl::StrFormat(
            "group_size = %d does not divide the %d inputs of %s; choose a divisor, or 0 for one "
            "group a row",
            group_size, cols, name));
      });
}

}  // namespace attnlab
