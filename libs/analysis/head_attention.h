// What one head's attention weights look like over many sequences, row by row, so that no map is
// held: attention sinks in the conventions of Gu et al. 2024 (arXiv:2410.10781) and Zuhri et al.
// 2025 (softpick, arXiv:2504.20966), mass, zeros, empty rows. docs/metrics.md has every formula.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace attnlab {

struct AttentionMetricOptions {
  // T of the sink rates; 0 is the whole sequence. A sequence that is shorter than T does not count
  // at T.
  std::vector<int64_t> lengths = {64, 256, 0};
  std::vector<double> thresholds = {0.2, 0.3, 0.8};  // a sink receives strictly more than this
  bool causal = true;  // row i sees keys 0 .. i; otherwise all, and only whole sequences count
};

// Shares of 1. `rate` is of sequences whose key 0 receives more than the threshold on average.
struct SinkRate {
  int64_t length = 0;
  double threshold = 0;
  int64_t sequences = 0;
  double rate = 0;        // weights as they are
  double proxy_rate = 0;  // each row divided by its sum of |weights|
};

struct HeadSummary {
  std::vector<SinkRate> sinks;     // lengths x thresholds, thresholds faster
  double first_key_mass = 0;       // mean weight on key 0, all queries
  double first_key_argmax = 0;     // queries whose largest weight is on key 0
  double selected_first_mass = 0;  // mean weight on key 0, selected queries
  double missing_mass = 0;         // mean of 1 - sum of the row: the mass on a virtual slot
  double zero_share = 0;           // exact zeros among visible keys
  double half_zero_share = 0;      // zeros once rounded to float16
  double near_zero_share = 0;      // |a| <= 1e-5
  double empty_rows = 0;           // rows whose weights are all 0
  double largest_row_error = 0;    // max |sum of the row - 1|
};

class HeadAttention {
 public:
  // Keys that may be the sink of Sink_k: 0 .. T/2, each seen by at least half of the queries.
  // Counts of sequences in which key k receives more than a threshold.
  struct KeyHits {
    int64_t sequences = 0;
    std::vector<std::vector<int32_t>> hits;        // [thresholds][keys], weights as they are
    std::vector<std::vector<int32_t>> proxy_hits;  // [thresholds][keys]
  };

  explicit HeadAttention(const AttentionMetricOptions& options);

  // Rows 0 .. length - 1 of a sequence of `length` tokens follow.
  void BeginSequence(int64_t length);
  // The next row: the weights of the keys that it may see. `selected` marks queries whose weight on
  // key 0 is averaged apart.
  void AddRow(absl::Span<const float> weights, bool selected);

  HeadSummary Summary() const;
  const std::vector<KeyHits>& key_hits() const { return key_hits_; }  // [lengths]

 private:
  void CountZeros(absl::Span<const float> weights);
  void CloseLength(size_t index, int64_t length);

  const AttentionMetricOptions options_;
  int64_t length_ = 0, row_ = 0;
  std::vector<double> column_, proxy_column_;  // sums over the rows so far, [length]
  std::vector<KeyHits> key_hits_;
  int64_t rows_ = 0, entries_ = 0, selected_rows_ = 0, empty_rows_ = 0, argmax_first_ = 0;
  int64_t zeros_ = 0, half_zeros_ = 0, near_zeros_ = 0;
  double first_mass_ = 0, selected_first_mass_ = 0, mass_ = 0, largest_row_error_ = 0;
};

// The strongest key of Sink_k over all given heads.
struct StrongestSink {
  int64_t key = 0;
  double rate = 0;
};
StrongestSink FindStrongestSink(absl::Span<const HeadAttention* const> heads, size_t length_index,
                                size_t threshold_index, bool proxy);

// Tokens at which a head writes nothing: max over d of |o_d| below a threshold.
class OffTokens {
 public:
  explicit OffTokens(std::vector<double> thresholds)
      : thresholds_(std::move(thresholds)), off_(thresholds_.size()) {}

  void Add(absl::Span<const float> output);  // [head dim], one token

  // Share of tokens below thresholds[index].
  double Share(size_t index) const {
    return static_cast<double>(off_[index]) / static_cast<double>(tokens_);
  }

 private:
  const std::vector<double> thresholds_;
  std::vector<int64_t> off_;
  int64_t tokens_ = 0;
};

}  // namespace attnlab
