// The user block of an image: 512 bytes before HDF5's own, which hold the length and the SHA-256 of
// what follows.
#pragma once

#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace attnlab::h5 {

inline constexpr size_t kSealBytes = 512;  // the smallest user block of HDF5

// The kSealBytes that stand before `body`.
std::string Seal(absl::string_view body);

// `image` is a seal and what it seals. InvalidArgument when there is no seal, DataLoss when it does
// not fit; `source` names the image in errors.
absl::Status CheckSeal(absl::string_view image, const std::string& source);

}  // namespace attnlab::h5
