// Turns the residual stream of a model, and the values of its heads, by orthogonal matrices that
// spread outliers, without changing what it computes (QuaRot, Ashkboos et al. 2024):
//
//   gains       W of q, k, v, gate, up and the head take the gain of the norm before them as
//   factors
//               of their columns; the gains become 1, and RMSNorm commutes with rotations
//   residual    x' = x R, R = D H with random signs D: embedding, o and down write x', the others
//               read it
//   values      v' = v H for each head, undone in o; attention is linear in v, so this holds for
//               every variant
//
// H is the Hadamard matrix of libs/attention/hadamard.h.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "libs/model/transformer.h"

namespace attnlab {

// InvalidArgument when the embedding is tied to the head: the two need different factors.
absl::Status CheckRotation(const ModelConfig& config);

// All matrices are numbers. The signs come from the stream "rotation" of `seed`. Products are taken
// in float64 and rounded once.
absl::Status RotateModel(Transformer& model, uint64_t seed);

}  // namespace attnlab
