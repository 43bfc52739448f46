// Pruning of whole attention heads: three scores of what a head is worth, the choice of those that
// go, and a smaller model without their rows of q, k, v and columns of o.
//
//     row sum      mean over queries of sum_j A_ij: softmax gives 1; a variant that can see nothing
//                  gives less, and a head near 0 is dead
//     importance   mean over sequences of |dL / d xi_h|, xi_h = 1 a gate on the head's output
//                  (Michel et al. 2019, arXiv:1905.10650)
//     ablation     the rise of the loss when the head's output is zero
//
// Query heads that share a key and value head go together or not at all: only then are its rows
// free. Scores of a group are the sums over its heads, but for row sums, where the largest counts.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/model/transformer.h"

namespace attnlab {

// By layer: [heads of the layer] float64 on the CPU.
using HeadScores = std::vector<at::Tensor>;

// tokens [N, T] int64 throughout, seen `batch` sequences at a time; the loss is the mean over the
// T - 1 tokens that have one before them.
HeadScores HeadRowSums(const Transformer& model, const at::Tensor& tokens, int64_t batch);
// The model's gradients are cleared. All matrices are numbers.
HeadScores HeadImportance(const Transformer& model, const at::Tensor& tokens, int64_t batch);
// One pass over the tokens a head; the model is as before when it returns. All matrices are
// numbers.
HeadScores HeadAblation(Transformer& model, const at::Tensor& tokens, int64_t batch);

// By layer: the query heads that stay, ascending.
using KeptHeads = std::vector<std::vector<int64_t>>;

// Without the groups whose largest score is below `threshold`. The best group of a layer stays.
KeptHeads DropBelow(const HeadScores& scores, double threshold, int64_t group_size);

// Without the floor(share * groups) groups of least score in the whole model; with `normalize` the
// scores of a layer are first divided by their L2 norm. The best group of a layer stays. 0 <= share
// < 1.
KeptHeads DropLeast(HeadScores scores, double share, bool normalize, int64_t group_size);

// The model without the other heads, on the same device. FailedPrecondition when its matrices are
// packed.
absl::StatusOr<Transformer> KeepHeads(const Transformer& model, const KeptHeads& kept);

}  // namespace attnlab
