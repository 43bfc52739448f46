#include "libs/core/progress.h"

#include <unistd.h>

#include <cmath>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "libs/core/log.h"

namespace attnlab {
namespace {
constexpr auto kTerminalInterval = std::chrono::milliseconds(100);
constexpr auto kLogInterval = std::chrono::seconds(10);
bool progress_lines = false;
}  // namespace

Progress::Progress(std::string name, int64_t total, std::string unit, int64_t done)
    : name_(std::move(name)),
      unit_(std::move(unit)),
      total_(total),
      first_(done),
      start_(Clock::now()),
      shown_(start_),
      terminal_(!progress_lines && isatty(STDERR_FILENO) != 0),
      last_done_(done) {}

void SetProgressLines(bool lines) { progress_lines = lines; }

Progress::~Progress() { Finish(); }

void Progress::Update(int64_t done, const std::string& detail) {
  last_done_ = done;
  last_detail_ = detail;
  const auto now = Clock::now();
  if (terminal_ ? now - shown_ < kTerminalInterval : now - shown_ < kLogInterval) return;
  shown_ = now;
  if (terminal_) {
    std::fprintf(stderr, "\r\033[K%s", Line(done, detail).c_str());
    std::fflush(stderr);
    line_open_ = true;
  } else {
    LogInfo(Line(done, detail));
  }
}

void Progress::Finish() {
  if (!line_open_) return;
  std::fprintf(stderr, "\r\033[K%s\n", Line(last_done_, last_detail_).c_str());
  std::fflush(stderr);
  line_open_ = false;
}

double Progress::seconds() const {
  return std::chrono::duration<double>(Clock::now() - start_).count();
}

std::string Progress::Line(int64_t done, const std::string& detail) const {
  const double rate = static_cast<double>(done - first_) / std::max(seconds(), 1e-9);
  std::string line = absl::StrCat(name_, " ", FormatCount(static_cast<double>(done)));
  if (total_ > 0) absl::StrAppend(&line, "/", FormatCount(static_cast<double>(total_)));
  absl::StrAppend(&line, " ", unit_, "  ", FormatCount(rate), " ", unit_, "/s");
  if (total_ > 0 && rate > 0) {
    absl::StrAppend(&line, "  ", FormatDuration(static_cast<double>(total_ - done) / rate),
                    " left");
  }
  if (!detail.empty()) absl::StrAppend(&line, "  ", detail);
  return line;
}

std::string FormatDuration(double seconds) {
  const int64_t s = std::llround(std::max(seconds, 0.0));
  if (s >= 3600) return absl::StrFormat("%dh %02dm", s / 3600, s % 3600 / 60);
  if (s >= 60) return absl::StrFormat("%dm %02ds", s / 60, s % 60);
  return absl::StrFormat("%ds", s);
}

std::string FormatCount(double value) {
  for (const auto& [size, suffix] : {std::pair{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e4, "k"}}) {
    if (value >= size) return absl::StrFormat("%.2f%s", value / (size == 1e4 ? 1e3 : size), suffix);
  }
  return value == std::floor(value) || value >= 1000 ? absl::StrFormat("%.0f", value)
                                                     : absl::StrFormat("%.2f", value);
}

}  // namespace attnlab
