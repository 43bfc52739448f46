// The registry of compression methods: methods.def made usable.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/compress/method.h"
#include "libs/recipe/recipe.h"

namespace attnlab {

// Reads the method's own settings strictly: an unknown one is an error that names the nearest.
using MethodFactory = absl::StatusOr<std::unique_ptr<Method>>(const Recipe& settings);

#define ATTNLAB_METHOD(name, kind, factory, help) MethodFactory factory;
#include "libs/compress/methods.def"
#undef ATTNLAB_METHOD

struct MethodInfo {
  std::string name, help;
  std::vector<MethodSetting> settings;
};

// `kind` is the program: "quantize" or "prune".
std::vector<MethodInfo> Methods(const std::string& kind);
std::vector<std::string> MethodNames(const std::string& kind);

// InvalidArgument with the known names when there is no such method, or what its settings lack.
absl::StatusOr<std::unique_ptr<Method>> MakeMethod(const std::string& kind, const std::string& name,
                                                   const Recipe& settings);

}  // namespace attnlab
