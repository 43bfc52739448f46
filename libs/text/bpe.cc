#include "libs/text/bpe.h"

#include <algorithm>
#include <tuple>

namespace attnlab {
namespace {

constexpr size_t kMaxCachedWords = 1 << 19;
constexpr size_t kMaxCachedWordBytes = 64;

// The order of a heap whose first element is the best.
constexpr auto kWorse = [](const auto& a, const auto& b) {
  return std::tie(a.rank, a.position) > std::tie(b.rank, b.position);
};

}  // namespace

void WordMerger::Run(const MergeTable& merges, std::vector<int32_t>& ids) {
  const int32_t size = static_cast<int32_t>(ids.size());
  heap_.clear();
  symbols_.clear();
  for (int32_t i = 0; i < size; ++i) symbols_.push_back({ids[i], i - 1, i + 1 < size ? i + 1 : -1});
  for (int32_t i = 0; i + 1 < size; ++i) Offer(merges, i);
  while (!heap_.empty()) {
    std::pop_heap(heap_.begin(), heap_.end(), kWorse);
    const Candidate best = heap_.back();
    heap_.pop_back();
    Symbol& left = symbols_[best.position];
    // A candidate is stale when one of its symbols has been merged since.
    if (left.id != best.left || left.next < 0 || symbols_[left.next].id != best.right) continue;
    Symbol& right = symbols_[left.next];
    left.id = best.id;
    left.next = right.next;
    right.id = -1;
    if (left.next >= 0) symbols_[left.next].previous = best.position;
    if (left.previous >= 0) Offer(merges, left.previous);
    Offer(merges, best.position);
  }
  ids.clear();
  for (const Symbol& symbol : symbols_) {
    if (symbol.id >= 0) ids.push_back(symbol.id);
  }
}

void WordMerger::Offer(const MergeTable& merges, int32_t position) {
  const Symbol& left = symbols_[position];
  if (left.next < 0) return;
  const int32_t right = symbols_[left.next].id;
  const MergeTable::Merge* merge = merges.Find(left.id, right);
  if (merge == nullptr) return;
  heap_.push_back({merge->rank, position, left.id, right, merge->id});
  std::push_heap(heap_.begin(), heap_.end(), kWorse);
}

bool WordCache::AppendIfKnown(absl::string_view word, std::vector<int32_t>& ids) const {
  const auto it = words_.find(word);
  if (it == words_.end()) return false;
  const auto first = ids_.begin() + it->second.first;
  ids.insert(ids.end(), first, first + it->second.second);
  return true;
}

void WordCache::Remember(absl::string_view word, absl::Span<const int32_t> ids) {
  if (word.size() > kMaxCachedWordBytes) return;
  if (words_.size() >= kMaxCachedWords) {
    words_.clear();
    ids_.clear();
  }
  const auto first = static_cast<uint32_t>(ids_.size());
  words_.emplace(word, std::make_pair(first, static_cast<uint32_t>(ids.size())));
  ids_.insert(ids_.end(), ids.begin(), ids.end());
}

std::unique_ptr<BpeWorkspace> BpeWorkspaces::Take() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (free_.empty()) return std::make_unique<BpeWorkspace>();
  std::unique_ptr<BpeWorkspace> workspace = std::move(free_.back());
  free_.pop_back();
  return workspace;
}

void BpeWorkspaces::Give(std::unique_ptr<BpeWorkspace> workspace) {
  const std::lock_guard<std::mutex> lock(mutex_);
  free_.push_back(std::move(workspace));
}

}  // namespace attnlab
