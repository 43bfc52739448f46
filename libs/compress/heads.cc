// The choice of heads, and the model without the others.

#include "libs/compress/heads.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/tensor.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "libs/core/check.h"

namespace attnlab {
namespace {

struct Group {
  double score;
  size_t layer;
  int64_t index;
};

// The heads of all groups but `dropped`.
KeptHeads Without(const std::vector<Group>& dropped, const HeadScores& scores, int64_t group_size) {
  KeptHeads kept(scores.size());
  for (size_t layer = 0; layer < scores.size(); ++layer) {
    for (int64_t head = 0; head < scores[layer].size(0); ++head) {
      const bool goes = std::any_of(dropped.begin(), dropped.end(), [&](const Group& group) {
        return group.layer == layer && group.index == head / group_size;
      });
      if (!goes) kept[layer].push_back(head);
    }
  }
  return kept;
}

// The groups of all layers by rising score, without the best of each layer. group_scores: by layer,
// [groups].
std::vector<Group> Candidates(const HeadScores& group_scores) {
  std::vector<Group> groups;
  for (size_t layer = 0; layer < group_scores.size(); ++layer) {
    const int64_t best = group_scores[layer].argmax().item<int64_t>();
    for (int64_t index = 0; index < group_scores[layer].size(0); ++index) {
      if (index == best) continue;
      groups.push_back({group_scores[layer][index].item<double>(), layer, index});
    }
  }
  std::stable_sort(groups.begin(), groups.end(),
                   [](const Group& a, const Group& b) { return a.score < b.score; });
  return groups;
}

// Rows h * width ... (h + 1) * width - 1 for each of `heads`.
at::Tensor RowsOf(const std::vector<int64_t>& heads, int64_t width) {
  return (at::tensor(heads, at::kLong).unsqueeze(1) * width + at::arange(width, at::kLong))
      .flatten();
}

}  // namespace

KeptHeads DropBelow(const HeadScores& scores, double threshold, int64_t group_size) {
  HeadScores largest;
  for (const at::Tensor& layer : scores) largest.push_back(layer.view({-1, group_size}).amax(1));
  std::vector<Group> dropped;
  for (const Group& group : Candidates(largest)) {
    if (group.score < threshold) dropped.push_back(group);
  }
  return Without(dropped, scores, group_size);
}

KeptHeads DropLeast(HeadScores scores, double share, bool normalize, int64_t group_size) {
  ATTNLAB_CHECK(share >= 0 && share < 1);
  HeadScores sums;
  int64_t groups = 0;
  for (const at::Tensor& layer : scores) {
    const at::Tensor scaled = normalize ? layer / layer.norm().clamp_min(1e-20) : layer;
    sums.push_back(scaled.view({-1, group_size}).sum(1));
    groups += sums.back().size(0);
  }
  std::vector<Group> dropped = Candidates(sums);
  const size_t count = static_cast<size_t>(static_cast<double>(groups) * share);
  dropped.resize(std::min(count, dropped.size()));
  return Without(dropped, scores, group_size);
}

absl::StatusOr<Transformer> KeepHeads(const Transformer& model, const KeptHeads& kept) {
  if (model.HasStored()) {
    return absl::FailedPreconditionError(
        "heads can be removed from a model of numbers alone; prune before quantizing");
  }
  const c10::NoGradGuard no_grad;
  ModelConfig config = model.config();
  const int64_t width = config.HeadDim(), group_size = config.GroupSize();
  config.layer_heads.clear();
  for (const auto& heads : kept) config.layer_heads.push_back(static_cast<int64_t>(heads.size()));
  const at::Device device = model.device();
  std::map<std::string, at::Tensor> sources;
  for (const auto& [name, tensor] : model.NamedParameters()) sources[name] = tensor;
  Transformer smaller = Transformer::CreateEmpty(
      config, device, sources.at("model.embed_tokens.weight").scalar_type());

  std::map<std::string, at::Tensor> targets;
  for (const auto& [name, tensor] : smaller.NamedParameters()) targets[name] = tensor;
  for (size_t layer = 0; layer < kept.size(); ++layer) {
    const std::string prefix = absl::StrCat("model.layers.", layer, ".self_attn.");
    std::vector<int64_t> shared;  // key and value heads
    for (size_t i = 0; i < kept[layer].size(); i += static_cast<size_t>(group_size)) {
      shared.push_back(kept[layer][i] / group_size);
    }
    const at::Tensor heads = at::tensor(kept[layer], at::kLong).to(device);
    const at::Tensor q = RowsOf(kept[layer], width).to(device),
                     kv = RowsOf(shared, width).to(device);
    for (auto& [name, target] : targets) {
      if (!absl::StartsWith(name, prefix)) continue;
      const std::string part = name.substr(prefix.size());
      const at::Tensor& source = sources.at(name);
      target.copy_(part == "q_proj.weight"   ? source.index_select(0, q)
                   : part == "o_proj.weight" ? source.index_select(1, q)
                   : part == "k_proj.weight" || part == "v_proj.weight"
                       ? source.index_select(0, kv)
                       : source.index_select(0, heads));  // a number of each head
    }
  }
  for (auto& [name, target] : targets) {
    if (!absl::StrContains(name, ".self_attn.")) target.copy_(sources.at(name));
  }
  return smaller;
}

}  // namespace attnlab
