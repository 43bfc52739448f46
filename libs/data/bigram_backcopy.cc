#include "libs/data/bigram_backcopy.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "libs/core/check.h"

namespace attnlab {
namespace {

// Row `row` of the table: `successors` symbols drawn without repeats by 1 / rank, each with the
// weight u^2 + 0.05, u uniform.
void FillRow(Rng& rng, int64_t successors, double* row, int64_t symbols) {
  std::vector<double> rank_weight(symbols);
  for (int64_t s = 0; s < symbols; ++s) rank_weight[s] = 1.0 / (1 + s);
  double total = 0;
  for (int64_t i = 0; i < successors; ++i) {
    std::vector<double> cumulative(symbols);
    std::partial_sum(rank_weight.begin(), rank_weight.end(), cumulative.begin());
    const size_t symbol = rng.FromCumulative(cumulative);
    rank_weight[symbol] = 0;
    const double u = rng.Uniform();
    total += row[symbol] = u * u + 0.05;
  }
  for (int64_t s = 0; s < symbols; ++s) row[s] /= total;
}

// One step of the chain: out = in P.
std::vector<double> Step(const std::vector<double>& in, const std::vector<double>& table) {
  const size_t n = in.size();
  std::vector<double> out(n);
  for (size_t a = 0; a < n; ++a) {
    for (size_t b = 0; b < n; ++b) out[b] += in[a] * table[a * n + b];
  }
  return out;
}

// The law that the chain keeps: the mean of its laws over many steps (which also settles where the
// chain has a period).
std::vector<double> Stationary(const std::vector<double>& table, size_t symbols) {
  constexpr int kSettle = 200, kMean = 200;
  std::vector<double> law(symbols, 1.0 / symbols), mean(symbols);
  for (int i = 0; i < kSettle + kMean; ++i) {
    law = Step(law, table);
    for (size_t s = 0; i >= kSettle && s < symbols; ++s) mean[s] += law[s] / kMean;
  }
  return mean;
}

double EntropyOf(const double* law, size_t size) {
  double entropy = 0;
  for (size_t i = 0; i < size; ++i) entropy -= law[i] > 0 ? law[i] * std::log(law[i]) : 0;
  return entropy;
}

}  // namespace

absl::Status BigramBackcopyOptions::Validate() const {
  if (symbols < 2 || symbols > 4096)
    return absl::InvalidArgumentError("bigram_backcopy.symbols must be in [2, 4096]");
  if (triggers < 0 || triggers >= symbols)
    return absl::InvalidArgumentError("bigram_backcopy.triggers must be in [0, symbols)");
  if (successors < 1 || successors > symbols)
    return absl::InvalidArgumentError("bigram_backcopy.successors must be in [1, symbols]");
  return absl::OkStatus();
}

BigramBackcopy::BigramBackcopy(const BigramBackcopyOptions& options)
    : symbols_(options.symbols),
      table_(symbols_ * symbols_),
      cumulative_(symbols_ * symbols_),
      trigger_(symbols_) {
  ATTNLAB_CHECK(options.Validate().ok());
  for (int64_t s = 0; s < symbols_; ++s) {
    Rng rng(options.table_seed, "bigram_backcopy.table", s);
    double* row = &table_[s * symbols_];
    FillRow(rng, options.successors, row, symbols_);
    std::partial_sum(row, row + symbols_, &cumulative_[s * symbols_]);
  }
  marginal_ = Stationary(table_, symbols_);
  marginal_cumulative_.resize(symbols_);
  std::partial_sum(marginal_.begin(), marginal_.end(), marginal_cumulative_.begin());
  std::vector<int64_t> by_frequency(symbols_);
  std::iota(by_frequency.begin(), by_frequency.end(), 0);
  std::stable_sort(by_frequency.begin(), by_frequency.end(),
                   [&](int64_t a, int64_t b) { return marginal_[a] > marginal_[b]; });
  for (int64_t i = 0; i < options.triggers; ++i) trigger_[by_frequency[i]] = true;
}

void BigramBackcopy::Draw(Rng& rng, int64_t length, int32_t* tokens, uint8_t* roles) const {
  const auto draw = [&](const double* cumulative) {
    const double u = rng.Uniform() * cumulative[symbols_ - 1];
    const int64_t i = std::upper_bound(cumulative, cumulative + symbols_, u) - cumulative;
    return static_cast<int32_t>(std::min(i, symbols_ - 1));
  };
  tokens[0] = bos();
  for (int64_t t = 0; t < length; ++t) {
    const int32_t current = tokens[t];
    if (current == bos()) {
      roles[t] = kFirst;
      tokens[t + 1] = draw(marginal_cumulative_.data());
    } else if (trigger_[current] && tokens[t - 1] != bos()) {
      roles[t] = kBackcopy;
      tokens[t + 1] = tokens[t - 1];
    } else {
      roles[t] = kBigram;
      tokens[t + 1] = draw(&cumulative_[current * symbols_]);
    }
  }
}

double BigramBackcopy::Entropy(Role role, int64_t length) const {
  if (role == kBackcopy) return 0;
  if (role == kFirst) return EntropyOf(marginal_.data(), marginal_.size());
  std::vector<double> row_entropy(symbols_);
  for (int64_t s = 0; s < symbols_; ++s)
    row_entropy[s] = EntropyOf(&table_[s * symbols_], symbols_);
  // law[previous, current] before the prediction of position t; `previous` is BOS at t = 1.
  const int64_t states = symbols_ + 1;
  std::vector<double> law(states * symbols_), next(states * symbols_);
  std::copy(marginal_.begin(), marginal_.end(), law.begin() + symbols_ * symbols_);
  double entropy = 0, weight = 0;
  for (int64_t t = 1; t < length; ++t) {
    std::fill(next.begin(), next.end(), 0);
    for (int64_t a = 0; a < states; ++a) {
      for (int64_t b = 0; b < symbols_; ++b) {
        const double p = law[a * symbols_ + b];
        if (p == 0) continue;
        if (trigger_[b] && a != symbols_) {
          next[b * symbols_ + a] += p;
          continue;
        }
        entropy += p * row_entropy[b];
        weight += p;
        for (int64_t c = 0; c < symbols_; ++c)
          next[b * symbols_ + c] += p * table_[b * symbols_ + c];
      }
    }
    law.swap(next);
  }
  return weight > 0 ? entropy / weight : 0;
}

}  // namespace attnlab
