// The ids of words that were met before. Text repeats its words (Zipf's law), so most of the work
// of a byte-pair encoder is one look-up here.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace attnlab {

class WordCache {
 public:
  // Appends the ids of `word` and returns true when they are known.
  bool AppendIfKnown(absl::string_view word, std::vector<int32_t>& ids) const {
    const auto it = words_.find(word);
    if (it == words_.end()) return false;
    const int32_t* first = ids_.data() + it->second.first;
    ids.insert(ids.end(), first, first + it->second.second);
    return true;
  }

  // Long words are rare and not kept; a full cache starts anew.
  void Remember(absl::string_view word, absl::Span<const int32_t> ids) {
    if (word.size() > kMaxWordBytes) return;
    if (words_.size() >= kMaxWords) {
      words_.clear();
      ids_.clear();
    }
    words_.emplace(word, std::make_pair(static_cast<uint32_t>(ids_.size()),
                                        static_cast<uint32_t>(ids.size())));
    ids_.insert(ids_.end(), ids.begin(), ids.end());
  }

 private:
  static constexpr size_t kMaxWords = 1 << 19;
  static constexpr size_t kMaxWordBytes = 64;
  absl::flat_hash_map<std::string, std::pair<uint32_t, uint32_t>> words_;  // first id, count
  std::vector<int32_t> ids_;
};

// Lends each caller a cache of its own, so that threads share a tokenizer without waiting.
class WordCachePool {
 public:
  class Loan {
   public:
    explicit Loan(WordCachePool& pool) : pool_(pool), cache_(pool.Take()) {}
    ~Loan() { pool_.Give(std::move(cache_)); }
    Loan(const Loan&) = delete;
    Loan& operator=(const Loan&) = delete;
    WordCache& operator*() { return *cache_; }

   private:
    WordCachePool& pool_;
    std::unique_ptr<WordCache> cache_;
  };

 private:
  std::unique_ptr<WordCache> Take() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (free_.empty()) return std::make_unique<WordCache>();
    std::unique_ptr<WordCache> cache = std::move(free_.back());
    free_.pop_back();
    return cache;
  }
  void Give(std::unique_ptr<WordCache> cache) {
    const std::lock_guard<std::mutex> lock(mutex_);
    free_.push_back(std::move(cache));
  }

  std::mutex mutex_;
  std::vector<std::unique_ptr<WordCache>> free_;
};

}  // namespace attnlab
