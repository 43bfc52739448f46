#include "libs/data/vocabulary.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "libs/core/log.h"
#include "libs/core/progress.h"
#include "libs/core/rng.h"
#include "libs/core/status.h"
#include "libs/text/sentencepiece_tokenizer.h"

namespace attnlab {
namespace {

constexpr size_t kMaxLine = 4000;  // SentencePiece passes over longer ones

// Keeps the lines with the smallest random keys, as many as fit `budget` bytes.
class LineSample {
 public:
  LineSample(int64_t budget, uint64_t seed) : budget_(budget), rng_(seed, "vocabulary.sample") {}

  // Lines of `text`; long ones are cut at spaces.
  void Add(absl::string_view text) {
    while (!text.empty()) {
      size_t end = std::min(text.find('\n'), text.size());
      if (end > kMaxLine) end = CutAt(text);
      if (end > 0) AddLine(text.substr(0, end));
      text.remove_prefix(end);
      if (!text.empty() && text[0] == '\n') text.remove_prefix(1);
    }
  }

  // The lines in the order of the text.
  std::vector<std::string> Take() {
    std::sort(lines_.begin(), lines_.end(),
              [](const Line& a, const Line& b) { return a.order < b.order; });
    std::vector<std::string> lines;
    for (Line& line : lines_) lines.push_back(std::move(line.text));
    return lines;
  }

 private:
  struct Line {
    uint64_t key;
    int64_t order;
    std::string text;
    bool operator<(const Line& other) const {
      return std::tie(key, order) < std::tie(other.key, other.order);
    }
  };

  // A place at or before kMaxLine: before a space if there is one, else between characters.
  static size_t CutAt(absl::string_view text) {
    const size_t space = text.rfind(' ', kMaxLine);
    if (space != absl::string_view::npos && space > 0) return space;
    size_t cut = kMaxLine;
    while (cut > 1 && (text[cut] & 0xC0) == 0x80) --cut;
    return cut;
  }

  void AddLine(absl::string_view text) {
    const uint64_t key = rng_.Next();
    const int64_t order = order_++;
    if (bytes_ >= budget_ && !lines_.empty() && key > lines_.front().key) return;
    lines_.push_back({key, order, std::string(text)});
    std::push_heap(lines_.begin(), lines_.end());
    bytes_ += static_cast<int64_t>(text.size());
    while (bytes_ > budget_ && lines_.size() > 1) {
      std::pop_heap(lines_.begin(), lines_.end());
      bytes_ -= static_cast<int64_t>(lines_.back().text.size());
      lines_.pop_back();
    }
  }

  const int64_t budget_;
  Rng rng_;
  int64_t order_ = 0, bytes_ = 0;
  std::vector<Line> lines_;  // a heap, the largest key first
};

absl::StatusOr<std::vector<std::string>> Sample(const std::vector<TextFile>& files,
                                                const VocabularyOptions& options) {
  int64_t total = 0, done = 0;
  for (const TextFile& file : files) total += file.bytes;
  Progress progress("sample text", total, "bytes");
  LineSample sample(options.sample_bytes, options.seed);
  for (const TextFile& file : files) {
    ATTNLAB_ASSIGN_OR_RETURN(const auto reader, DocumentReader::Open(file));
    for (RawDocument document;;) {
      ATTNLAB_ASSIGN_OR_RETURN(const bool more, reader->Next(document));
      if (!more) break;
      ATTNLAB_ASSIGN_OR_RETURN(
          const std::string text,
          DocumentText(std::move(document), file, options.field, options.invalid_utf8));
      sample.Add(text);
      progress.Update(done + reader->bytes_on_disk());
    }
    done += file.bytes;
  }
  return sample.Take();
}

}  // namespace

absl::StatusOr<std::string> TrainVocabulary(const std::vector<TextFile>& files,
                                            const VocabularyOptions& options) {
  ATTNLAB_ASSIGN_OR_RETURN(const std::vector<std::string> lines, Sample(files, options));
  int64_t bytes = 0;
  for (const std::string& line : lines) bytes += static_cast<int64_t>(line.size());
  LogInfo(absl::StrCat("training a vocabulary of ", options.size, " tokens on ", lines.size(),
                       " lines (", FormatCount(static_cast<double>(bytes)), " bytes)"));
  size_t next = 0;
  return TrainSentencePiece(static_cast<int32_t>(options.size), [&](std::string& line) {
    if (next == lines.size()) return false;
    line = lines[next++];
    return true;
  });
}

}  // namespace attnlab
