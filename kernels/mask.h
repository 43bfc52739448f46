// Which keys a query sees, and whether a tile of scores needs a look at single elements.
//
// Query i stands at position p = i + query_offset (query_offset = keys - queries when the queries
// are the last positions of the sequence). It sees key j when
//     j <= p                                  if causal, and
//     p - j < window  or  j < first_kept      if window > 0, and
//     document of i == document of j          if documents are given (packed sequences).
#pragma once

#include <cstdint>

#include "kernels/words.h"

namespace attnlab {

enum class TileClass { kEmpty, kPartial, kFull };

// Keys [0, kept) and [begin, end), kept <= begin: what a row sees before documents are looked at.
struct Span {
  int64_t kept;
  int64_t begin;
  int64_t end;
};

struct Mask {
  bool causal = true;
  int64_t query_offset = 0;
  int64_t window = 0;                        // keys, the query's own included; 0 = no window
  int64_t first_kept = 0;                    // keys at the start that no window hides
  const int32_t* query_documents = nullptr;  // [batch, queries], or null; both or none
  const int32_t* key_documents = nullptr;    // [batch, keys]

  // The mask of one sequence of the batch: its documents only.
  ATTNLAB_HD Mask OfSequence(int64_t batch, int64_t queries, int64_t keys) const {
    Mask mask = *this;
    if (query_documents != nullptr) {
      mask.query_documents = query_documents + batch * queries;
      mask.key_documents = key_documents + batch * keys;
    }
    return mask;
  }

  ATTNLAB_HD Span RowSpan(int64_t query, int64_t keys) const {
    const int64_t position = query + query_offset;
    int64_t end = keys;
    if (causal && position + 1 < end) end = position + 1 > 0 ? position + 1 : 0;
    int64_t begin = window > 0 && position - window + 1 > 0 ? position - window + 1 : 0;
    if (begin > end) begin = end;
    if (begin <= first_kept) begin = 0;
    return {begin < first_kept ? begin : first_kept, begin, end};
  }

  // One sequence's mask (OfSequence), `query` and `key` in range.
  ATTNLAB_HD bool Sees(int64_t query, int64_t key, int64_t keys) const {
    const Span span = RowSpan(query, keys);
    return (key < span.kept || (key >= span.begin && key < span.end)) &&
           (query_documents == nullptr || query_documents[query] == key_documents[key]);
  }

  // The number n of keys that `query` sees.
  ATTNLAB_HD int64_t CountVisible(int64_t query, int64_t keys) const {
    const Span span = RowSpan(query, keys);
    if (query_documents == nullptr) return span.kept + span.end - span.begin;
    int64_t count = 0;
    for (int64_t key = 0; key < span.end; ++key) count += Sees(query, key, keys);
    return count;
  }

  // Of queries [query_begin, query_end) and keys [key_begin, key_end), neither range empty.
  ATTNLAB_HD TileClass Classify(int64_t query_begin, int64_t query_end, int64_t key_begin,
                                int64_t key_end, int64_t keys) const {
    const Span first = RowSpan(query_begin, keys);
    const Span last = RowSpan(query_end - 1, keys);
    // begin and end never fall from one query to the next.
    if (key_begin >= last.end || (key_end <= first.begin && key_begin >= first.kept)) {
      return TileClass::kEmpty;
    }
    const bool all = key_end <= first.end && (key_begin >= last.begin || key_end <= last.kept);
    if (query_documents == nullptr) return all ? TileClass::kFull : TileClass::kPartial;
    const TileClass documents = ClassifyDocuments(query_begin, query_end, key_begin, key_end);
    return documents == TileClass::kFull && !all ? TileClass::kPartial : documents;
  }

 private:
  ATTNLAB_HD TileClass ClassifyDocuments(int64_t query_begin, int64_t query_end, int64_t key_begin,
                                         int64_t key_end) const {
    int32_t query_low = query_documents[query_begin], query_high = query_low;
    int32_t key_low = key_documents[key_begin], key_high = key_low;
    for (int64_t i = query_begin; i < query_end; ++i) {
      query_low = query_documents[i] < query_low ? query_documents[i] : query_low;
      query_high = query_documents[i] > query_high ? query_documents[i] : query_high;
    }
    for (int64_t i = key_begin; i < key_end; ++i) {
      key_low = key_documents[i] < key_low ? key_documents[i] : key_low;
      key_high = key_documents[i] > key_high ? key_documents[i] : key_high;
    }
    if (query_high < key_low || key_high < query_low) return TileClass::kEmpty;
    const bool one = query_low == query_high && key_low == key_high && query_low == key_low;
    return one ? TileClass::kFull : TileClass::kPartial;
  }
};

}  // namespace attnlab
