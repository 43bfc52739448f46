// The one check of group sizes.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "libs/model/config.h"

namespace attnlab {

// InvalidArgument that names the matrix when group_size, if not 0 (one group a row), is not a
// divisor of the inputs of every matrix of the layers.
absl::Status CheckGroupSize(const ModelConfig& config, int64_t group_size);

}  // namespace attnlab
