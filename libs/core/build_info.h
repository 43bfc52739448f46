// What this binary was built from, for the provenance of results.
#pragma once

#include <string>

namespace attnlab {

struct BuildInfo {
  std::string version;   // of attnlab
  std::string commit;    // git commit, "unknown" outside a checkout
  bool dirty = false;    // the work tree had uncommitted changes
  std::string compiler;  // "g++ 12.2.0"
  std::string build_type;

  static const BuildInfo& Get();
  std::string Describe() const;  // "0.1.0 (commit 1a2b3c, g++ 12.2.0, Release)"
};

}  // namespace attnlab
