#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "libs/compress/method_list.h"
#include "libs/core/check.h"
#include "libs/core/status.h"

namespace attnlab {
namespace {

struct Entry {
  const char* name;
  const char* kind;
  MethodFactory* make;
  const char* help;
};
constexpr Entry kEntries[] = {
#define ATTNLAB_METHOD(name, kind, factory, help) {#name, #kind, factory, help},
#include "libs/compress/methods.def"
#undef ATTNLAB_METHOD
};

}  // namespace

std::vector<MethodInfo> Methods(const std::string& kind) {
  const Recipe defaults = Recipe::Parse("", "defaults").value();
  std::vector<MethodInfo> methods;
  for (const Entry& entry : kEntries) {
    if (kind != entry.kind) continue;
    const auto method = entry.make(defaults);
    ATTNLAB_CHECK(method.ok(), entry.name);
    methods.push_back({entry.name, entry.help, (*method)->settings()});
  }
  return methods;
}

std::vector<std::string> MethodNames(const std::string& kind) {
  std::vector<std::string> names;
  for (const Entry& entry : kEntries) {
    if (kind == entry.kind) names.push_back(entry.name);
  }
  return names;
}

absl::StatusOr<std::unique_ptr<Method>> MakeMethod(const std::string& kind, const std::string& name,
                                                   const Recipe& settings) {
  for (const Entry& entry : kEntries) {
    if (kind != entry.kind || name != entry.name) continue;
    auto method = entry.make(settings);
    if (!method.ok()) return Annotate(method.status(), name);
    return method;
  }
  return absl::InvalidArgumentError(absl::StrCat("there is no method \"", name, "\" of `", kind,
                                                 "`; it knows ",
                                                 absl::StrJoin(MethodNames(kind), ", ")));
}

absl::Status CheckMatrices(
    const ModelConfig& config,
    const std::function<absl::Status(const std::string& name, int64_t rows, int64_t cols)>& check) {
  for (const ParameterSpec& spec : ParameterSpecs(config)) {
    const bool matrix = std::any_of(kMatrixSlots.begin(), kMatrixSlots.end(), [&](MatrixSlot slot) {
      return absl::EndsWith(spec.name, absl::StrCat(SlotName(slot), ".weight"));
    });
    if (!matrix) continue;
    ATTNLAB_RETURN_IF_ERROR(check(spec.name, spec.shape[0], spec.shape[1]));
  }
  return absl::OkStatus();
}

}  // namespace attnlab
