// What an attention layer computes: the variant, its constants, the mask and the implementation.
//
//     o_i = sum_j W(s_ij) v_j / (sum_j M(s_ij) + tail),   s_ij = scale q_i . k_j,   j visible to i
//
// Query i of T stands at position p = i + S - T of S keys when causal (p = i when not) and sees
//     all keys                                                if not causal,
//     keys j <= p                                             if causal,
//     of these, p - j < window or j < first_kept              if window > 0.
// first_kept are the sink tokens of StreamingLLM (Xiao et al. 2023, 2309.17453).
// The variants are the lines of kernels/weightings.def.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace attnlab {

struct AttentionOptions {
  std::string weighting = "softmax";
  std::map<std::string, double> constants;  // overrides of the variant's named constants
  double scale = 0;                         // 0 = 1 / sqrt(D)
  bool causal = true;
  int64_t window = 0;      // keys that a query sees, itself included; 0 = all
  int64_t first_kept = 0;  // keys at the start that stay visible outside the window
  std::string implementation = "auto";
  std::string skip_zero_tiles = "auto";

  template <class Visitor>
  void ForEach(Visitor&& visit) {
    visit("weighting", weighting, "the attention variant, one of kernels/weightings.def");
    visit("constants", constants, "overrides of the variant's constants, by name");
    visit("scale", scale, "factor of q . k; 0 = 1 / sqrt(head dim)");
    visit("causal", causal, "a query sees no later key");
    visit("window", window, "keys that a query sees, itself included; 0 = all");
    visit("first_kept", first_kept, "first keys that stay visible outside the window");
    visit("implementation", implementation, "auto, reference, blocked, kernel or sdpa");
    visit("skip_zero_tiles", skip_zero_tiles,
          "on CUDA, leave out products of tiles without weights, with the same result: on, off, or "
          "auto, which is on for variants that need nothing of such a tile, and in a decode for all "
          "that have zeros");
  }
};

// A learned number of each head that a variant brings (sink logit, SSMax scale, ...), stored as a
// tensor [H].
struct HeadParameter {
  std::string name;
  double init;
  double ratio;
  std::string help;

  // What head `head` starts from: init * ratio^head.
  double Initial(int64_t head) const;
};

// InvalidArgument with the known names when the weighting, a constant or the implementation is
// unknown, or when the mask makes no sense (window without causal, first_kept without window, a
// negative number).
absl::Status Validate(const AttentionOptions& options);

// The learned numbers of `options.weighting`, in the order in which `head_parameters` lists them
// everywhere; empty for most variants. `options` is valid.
std::vector<HeadParameter> HeadParameters(const AttentionOptions& options);

// The names of all variants, in the order of kernels/weightings.def.
std::vector<std::string> WeightingNames();

}  // namespace attnlab
