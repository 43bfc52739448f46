// The readers behind formats.def.
#pragma once

#include "libs/packed/formats.h"

namespace attnlab {

using FormatReader = absl::StatusOr<std::shared_ptr<const StoredMatrix>>(MatrixTensors& tensors,
                                                                         int64_t rows, int64_t cols,
                                                                         const JsonRef& config);

#define ATTNLAB_FORMAT(name, reader, help) FormatReader reader;
#include "libs/packed/formats.def"
#undef ATTNLAB_FORMAT

}  // namespace attnlab
