#include "libs/analysis/head_attention.h"

#include <algorithm>
#include <cmath>

#include "libs/core/check.h"

namespace attnlab {
namespace {

constexpr float kNearZero = 1e-5f;
constexpr float kHalfUnderflow = 0x1p-25f;  // the largest value that float16 rounds to 0

// Keys of Sink_k at T = `length`.
int64_t CandidateKeys(int64_t length) { return length / 2 + 1; }

double SumOfMagnitudes(absl::Span<const float> weights) {
  double sum = 0;
  for (float weight : weights) sum += std::abs(weight);
  return sum;
}

double Share(int64_t part, int64_t whole) {
  return static_cast<double>(part) / static_cast<double>(whole);
}

}  // namespace

HeadAttention::HeadAttention(const AttentionMetricOptions& options)
    : options_(options), key_hits_(options.lengths.size()) {
  for (KeyHits& hits : key_hits_) {
    hits.hits.resize(options_.thresholds.size());
    hits.proxy_hits.resize(options_.thresholds.size());
  }
}

void HeadAttention::BeginSequence(int64_t length) {
  ATTNLAB_CHECK(row_ == length_, "the rows of the sequence before are not complete");
  length_ = length;
  row_ = 0;
  column_.assign(length, 0);
  proxy_column_.assign(length, 0);
}

void HeadAttention::AddRow(absl::Span<const float> weights, bool selected) {
  ATTNLAB_CHECK(static_cast<int64_t>(weights.size()) == (options_.causal ? row_ + 1 : length_));
  double sum = 0;
  for (size_t key = 0; key < weights.size(); ++key) {
    sum += weights[key];
    column_[key] += weights[key];
  }
  const double magnitude = SumOfMagnitudes(weights);
  if (magnitude > 0) {
    const double scale = 1 / magnitude;
    for (size_t key = 0; key < weights.size(); ++key) {
      proxy_column_[key] += scale * std::abs(weights[key]);
    }
    argmax_first_ += *std::max_element(weights.begin(), weights.end()) == weights[0];
  } else {
    ++empty_rows_;
  }
  CountZeros(weights);
  mass_ += sum;
  largest_row_error_ = std::max(largest_row_error_, std::abs(sum - 1));
  first_mass_ += weights[0];
  if (selected) {
    selected_first_mass_ += weights[0];
    ++selected_rows_;
  }
  ++rows_;
  ++row_;
  for (size_t i = 0; i < options_.lengths.size(); ++i) {
    const bool whole = options_.lengths[i] == 0;
    if (whole ? row_ == length_ : options_.causal && row_ == options_.lengths[i]) {
      CloseLength(i, row_);
    }
  }
}

void HeadAttention::CountZeros(absl::Span<const float> weights) {
  int64_t zeros = 0, half_zeros = 0, near_zeros = 0;
  for (float weight : weights) {
    const float magnitude = std::abs(weight);
    zeros += magnitude == 0;
    half_zeros += magnitude <= kHalfUnderflow;
    near_zeros += magnitude <= kNearZero;
  }
  zeros_ += zeros;
  half_zeros_ += half_zeros;
  near_zeros_ += near_zeros;
  entries_ += static_cast<int64_t>(weights.size());
}

void HeadAttention::CloseLength(size_t index, int64_t length) {
  KeyHits& count = key_hits_[index];
  ++count.sequences;
  const auto add = [&](const std::vector<double>& column, std::vector<std::vector<int32_t>>& hits) {
    for (size_t e = 0; e < options_.thresholds.size(); ++e) {
      const size_t keys = CandidateKeys(length) <= length ? CandidateKeys(length) : length;
      if (hits[e].size() < keys) hits[e].resize(keys);
      for (size_t key = 0; key < keys; ++key) {
        const int64_t queries = options_.causal ? length - static_cast<int64_t>(key) : length;
        hits[e][key] += column[key] > options_.thresholds[e] * static_cast<double>(queries);
      }
    }
  };
  add(column_, count.hits);
  add(proxy_column_, count.proxy_hits);
}

HeadSummary HeadAttention::Summary() const {
  HeadSummary summary;
  for (size_t i = 0; i < key_hits_.size(); ++i) {
    const KeyHits& count = key_hits_[i];
    for (size_t e = 0; e < options_.thresholds.size(); ++e) {
      SinkRate& sink = summary.sinks.emplace_back();
      sink.length = options_.lengths[i];
      sink.threshold = options_.thresholds[e];
      sink.sequences = count.sequences;
      if (count.sequences == 0) continue;
      sink.rate = Share(count.hits[e][0], count.sequences);
      sink.proxy_rate = Share(count.proxy_hits[e][0], count.sequences);
    }
  }
  const double rows = static_cast<double>(rows_);
  summary.first_key_mass = first_mass_ / rows;
  summary.first_key_argmax = Share(argmax_first_, rows_);
  summary.selected_first_mass = selected_first_mass_ / static_cast<double>(selected_rows_);
  summary.missing_mass = 1 - mass_ / rows;
  summary.zero_share = Share(zeros_, entries_);
  summary.half_zero_share = Share(half_zeros_, entries_);
  summary.near_zero_share = Share(near_zeros_, entries_);
  summary.empty_rows = Share(empty_rows_, rows_);
  summary.largest_row_error = largest_row_error_;
  return summary;
}

StrongestSink FindStrongestSink(absl::Span<const HeadAttention* const> heads, size_t length_index,
                                size_t threshold_index, bool proxy) {
  std::vector<int64_t> total;
  int64_t sequences = 0;
  for (const HeadAttention* head : heads) {
    const HeadAttention::KeyHits& count = head->key_hits()[length_index];
    const std::vector<int32_t>& hits = (proxy ? count.proxy_hits : count.hits)[threshold_index];
    sequences += count.sequences;
    if (total.size() < hits.size()) total.resize(hits.size());
    for (size_t key = 0; key < hits.size(); ++key) total[key] += hits[key];
  }
  StrongestSink strongest;
  if (total.empty()) return strongest;
  const auto top = std::max_element(total.begin(), total.end());
  strongest.key = top - total.begin();
  strongest.rate = Share(*top, sequences);
  return strongest;
}

void OffTokens::Add(absl::Span<const float> output) {
  float largest = 0;
  for (float value : output) largest = std::max(largest, std::abs(value));
  for (size_t i = 0; i < thresholds_.size(); ++i)
    off_[i] += largest < static_cast<float>(thresholds_[i]);
  ++tokens_;
}

}  // namespace attnlab
