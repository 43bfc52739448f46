// The Bigram-Backcopy task of Guo et al. 2024, "Active-Dormant Attention Heads" (arXiv:2410.13835):
// a BOS, then symbols of a fixed sparse Markov chain in which a few trigger symbols make the next
// symbol repeat the one before the trigger:
//
//   x_0 = BOS,  x_1 ~ marginal,  x_{t+1} = x_{t-1} if x_t is a trigger (and x_{t-1} not BOS),
//                                x_{t+1} ~ P(. | x_t) otherwise.
//
// A head that copies must look at t-1 on triggers and at nothing elsewhere: softmax cannot, and
// parks its attention on BOS.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "libs/core/rng.h"

namespace attnlab {

struct BigramBackcopyOptions {
  int64_t symbols = 64;
  int64_t triggers = 5;
  int64_t successors = 8;
  int64_t table_seed = 0;

  absl::Status Validate() const;

  template <class Visitor>
  void ForEach(Visitor&& visit) {
    visit("symbols", symbols, "symbols of the chain; BOS has the id after the last one");
    visit("triggers", triggers, "how many of the most frequent symbols are triggers");
    visit("successors", successors, "symbols that may follow a symbol");
    visit("table_seed", table_seed, "seed of the chain, apart from the seed of a run");
  }
};

// The chain: its table, triggers, entropies, and draws from it.
class BigramBackcopy {
 public:
  enum Role : uint8_t { kFirst = 0, kBigram = 1, kBackcopy = 2 };

  // `options` must be valid.
  explicit BigramBackcopy(const BigramBackcopyOptions& options);

  int32_t bos() const { return static_cast<int32_t>(symbols_); }
  int32_t vocab_size() const { return static_cast<int32_t>(symbols_ + 1); }
  bool IsTrigger(int32_t token) const { return token < bos() && trigger_[token]; }

  // Draws BOS and `length` symbols into tokens [length + 1]; roles [length] are those of the
  // predictions of tokens 1 .. length.
  void Draw(Rng& rng, int64_t length, int32_t* tokens, uint8_t* roles) const;

  // Nats: the mean conditional entropy of the predictions of `role` in a sequence of `length`
  // symbols, exact (the law of (x_{t-1}, x_t) is propagated position by position).
  double Entropy(Role role, int64_t length) const;

  // P(next | current), [symbols, symbols] row-major, and the law of the first symbol.
  const std::vector<double>& table() const { return table_; }
  const std::vector<double>& marginal() const { return marginal_; }

 private:
  const int64_t symbols_;
  std::vector<double> table_;       // [symbols, symbols]
  std::vector<double> cumulative_;  // [symbols, symbols], running sums of the rows
  std::vector<double> marginal_;    // [symbols], the stationary law of `table_`
  std::vector<double> marginal_cumulative_;
  std::vector<bool> trigger_;  // [symbols]
};

}  // namespace attnlab
