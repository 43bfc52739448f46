#include "libs/core/build_info.h"

#include "absl/strings/str_cat.h"
#include "attnlab_build_info.h"  // generated at each build

namespace attnlab {

const BuildInfo& BuildInfo::Get() {
  static const BuildInfo info{
      .version = ATTNLAB_VERSION,
      .commit = ATTNLAB_GIT_COMMIT,
      .dirty = ATTNLAB_GIT_DIRTY,
      .compiler = absl::StrCat("g++ ", __GNUC__, ".", __GNUC_MINOR__, ".", __GNUC_PATCHLEVEL__),
      .build_type = ATTNLAB_BUILD_TYPE,
  };
  return info;
}

std::string BuildInfo::Describe() const {
  return absl::StrCat(version, " (commit ", commit.substr(0, 12), dirty ? " with changes" : "",
                      ", ", compiler, ", ", build_type, ")");
}

}  // namespace attnlab
