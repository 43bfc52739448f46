// The core that byte-pair encoders share: merging one word, and remembering words met before.
//
// A word starts as its smallest symbols; the adjacent pair with the lowest rank (the leftmost of
// equals) becomes one symbol until no pair has a rank (Sennrich, Haddow, Birch 2016,
// arXiv:1508.07909). Text repeats its words (Zipf's law), so most words cost one look-up.
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

// The pairs of symbols that merge: their rank and the symbol that they make.
class MergeTable {
 public:
  struct Merge {
    int32_t rank, id;
  };
  // A pair given twice keeps the last merge.
  void Set(int32_t left, int32_t right, Merge merge) { merges_[Key(left, right)] = merge; }
  const Merge* Find(int32_t left, int32_t right) const {
    const auto it = merges_.find(Key(left, right));
    return it == merges_.end() ? nullptr : &it->second;
  }

 private:
  static uint64_t Key(int32_t left, int32_t right) {
    return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
  }
  absl::flat_hash_map<uint64_t, Merge> merges_;
};

// Merges words; holds the room that this needs. Time O(n log n) in the symbols of a word.
class WordMerger {
 public:
  void Run(const MergeTable& merges, std::vector<int32_t>& ids);

 private:
  struct Symbol {
    int32_t id, previous, next;  // id -1: merged into the symbol before
  };
  struct Candidate {
    int32_t rank, position, left, right, id;
  };
  void Offer(const MergeTable& merges, int32_t position);

  std::vector<Symbol> symbols_;
  std::vector<Candidate> heap_;  // the best candidate is first
};

// The ids of words met before.
class WordCache {
 public:
  // Appends the ids of `word` and returns true when they are known.
  bool AppendIfKnown(absl::string_view word, std::vector<int32_t>& ids) const;

  // Long words are rare and not kept; a full cache starts anew.
  void Remember(absl::string_view word, absl::Span<const int32_t> ids);

 private:
  absl::flat_hash_map<std::string, std::pair<uint32_t, uint32_t>> words_;  // first id, count
  std::vector<int32_t> ids_;
};

// What one thread needs to encode.
struct BpeWorkspace {
  WordCache cache;
  WordMerger merger;
  std::vector<int32_t> word;
};

// Lends each caller a workspace of its own, so that threads share a tokenizer without waiting.
class BpeWorkspaces {
 public:
  class Loan {
   public:
    explicit Loan(BpeWorkspaces& pool) : pool_(pool), workspace_(pool.Take()) {}
    ~Loan() { pool_.Give(std::move(workspace_)); }
    Loan(const Loan&) = delete;
    Loan& operator=(const Loan&) = delete;
    BpeWorkspace& operator*() { return *workspace_; }

   private:
    BpeWorkspaces& pool_;
    std::unique_ptr<BpeWorkspace> workspace_;
  };

 private:
  std::unique_ptr<BpeWorkspace> Take();
  void Give(std::unique_ptr<BpeWorkspace> workspace);

  std::mutex mutex_;
  std::vector<std::unique_ptr<BpeWorkspace>> free_;
};

}  // namespace attnlab
