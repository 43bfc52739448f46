#include "libs/io/h5_seal.h"

#include <cstdint>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "libs/core/files.h"

namespace attnlab::h5 {
namespace {

constexpr absl::string_view kMagic = "attnlab results\n";

}  // namespace

std::string Seal(absl::string_view body) {
  Sha256 sha;
  sha.Update({reinterpret_cast<const uint8_t*>(body.data()), body.size()});
  std::string seal = absl::StrCat(kMagic, body.size(), " bytes of HDF5 follow byte ", kSealBytes,
                                  "\nsha256 ", sha.Hex(), "\n");
  seal.resize(kSealBytes, '\0');
  return seal;
}

absl::Status CheckSeal(absl::string_view image, const std::string& source) {
  if (!absl::StartsWith(image, kMagic)) {
    return absl::InvalidArgumentError(
        absl::StrCat(source, " is not a results file of attnlab (it does not start with \"",
                     kMagic.substr(0, kMagic.size() - 1), "\")"));
  }
  if (image.size() >= kSealBytes && image.substr(0, kSealBytes) == Seal(image.substr(kSealBytes)))
    return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat(source, " is damaged: its checksum does not fit its ", image.size(),
                   " bytes; restore it from a copy, or repeat the run in another folder"));
}

}  // namespace attnlab::h5
