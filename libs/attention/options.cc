#include "libs/attention/options.h"

#include <array>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "kernels/weighting_info.h"
#include "libs/core/check.h"

namespace attnlab {
namespace {

constexpr std::array kImplementations = {"auto", "reference", "blocked", "kernel", "sdpa"};

const WeightingInfo* FindInfo(const std::string& name) {
  const auto index = FindWeighting(name);
  return index ? &Weightings()[*index] : nullptr;
}

absl::Status ValidateConstants(const AttentionOptions& options, const WeightingInfo& info) {
  for (const auto& [name, value] : options.constants) {
    bool known = false;
    for (const ConstantInfo& constant : info.constants) known = known || constant.name == name;
    if (known) continue;
    const std::string names =
        absl::StrJoin(info.constants, ", ", [](std::string* out, const ConstantInfo& constant) {
          absl::StrAppend(out, constant.name);
        });
    return absl::InvalidArgumentError(absl::StrCat("attention variant \"", options.weighting,
                                                   "\" has no constant \"", name, "\"; it has ",
                                                   names.empty() ? "none" : names));
  }
  return absl::OkStatus();
}

absl::Status ValidateMask(const AttentionOptions& options) {
  if (options.scale < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("attention scale ", options.scale, " is negative; 0 stands for 1 / sqrt(D)"));
  }
  if (options.window < 0 || options.first_kept < 0) {
    return absl::InvalidArgumentError("attention window and first_kept may not be negative");
  }
  if (options.window > 0 && !options.causal) {
    return absl::InvalidArgumentError(
        "an attention window looks back only: set causal = true, or window = 0");
  }
  if (options.first_kept > 0 && options.window == 0) {
    return absl::InvalidArgumentError(
        "attention first_kept keeps keys outside a window: set window, or first_kept = 0");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Validate(const AttentionOptions& options) {
  const WeightingInfo* info = FindInfo(options.weighting);
  if (info == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("unknown attention variant \"", options.weighting,
                     "\"; known: ", absl::StrJoin(WeightingNames(), ", ")));
  }
  bool known = false;
  for (const char* name : kImplementations) known = known || options.implementation == name;
  if (!known) {
    return absl::InvalidArgumentError(
        absl::StrCat("unknown attention implementation \"", options.implementation,
                     "\"; known: ", absl::StrJoin(kImplementations, ", ")));
  }
  if (options.skip_zero_tiles != "auto" && options.skip_zero_tiles != "on" &&
      options.skip_zero_tiles != "off") {
    return absl::InvalidArgumentError(absl::StrCat(
        "attention skip_zero_tiles \"", options.skip_zero_tiles, "\" is none of auto, on, off"));
  }
  if (options.implementation == "sdpa" && options.weighting != "softmax") {
    return absl::InvalidArgumentError(absl::StrCat(
        "attention implementation \"sdpa\" is LibTorch's softmax and cannot compute \"",
        options.weighting, "\"; use auto"));
  }
  if (absl::Status status = ValidateConstants(options, *info); !status.ok()) return status;
  return ValidateMask(options);
}

double HeadParameter::Initial(int64_t head) const {
  return InitialValue(
      Learned{name.c_str(), static_cast<float>(init), static_cast<float>(ratio), ""},
      static_cast<int>(head));
}

std::vector<HeadParameter> HeadParameters(const AttentionOptions& options) {
  const WeightingInfo* info = FindInfo(options.weighting);
  ATTNLAB_CHECK(info != nullptr, options.weighting);
  std::vector<HeadParameter> parameters;
  for (const Learned& learned : info->learned) {
    parameters.push_back({learned.name, learned.init, learned.ratio, learned.help});
  }
  return parameters;
}

std::vector<std::string> WeightingNames() {
  std::vector<std::string> names;
  for (const WeightingInfo& info : Weightings()) names.push_back(info.text.name);
  return names;
}

}  // namespace attnlab
