// Progress of long work: how far, how fast, how long still. On a terminal one line that is
// rewritten (at most ten times a second); elsewhere a log line now and then.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace attnlab {

class Progress {
 public:
  // `total` units of work named `unit` ("steps", "bytes", "sequences"); 0 when the total is not
  // known. `done` units were finished before (a resumed run); they do not count in the rate.
  Progress(std::string name, int64_t total, std::string unit, int64_t done = 0);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // `done` units are finished; `detail` stands behind the figures ("loss 2.31  41.2k tokens/s").
  void Update(int64_t done, const std::string& detail = "");

  // Ends the line. The destructor does the same.
  void Finish();

  double seconds() const;  // since construction

 private:
  using Clock = std::chrono::steady_clock;
  std::string Line(int64_t done, const std::string& detail) const;

  const std::string name_, unit_;
  const int64_t total_, first_;
  const Clock::time_point start_;
  Clock::time_point shown_{};
  const bool terminal_;
  bool line_open_ = false;
  int64_t last_done_ = 0;
  std::string last_detail_;
};

// Log lines even on a terminal, from now on: for processes that share one.
void SetProgressLines(bool lines);

// "1h 02m", "3m 05s", "12s".
std::string FormatDuration(double seconds);
// 1234567 -> "1.23M"; 1536 -> "1.54k".
std::string FormatCount(double value);

}  // namespace attnlab
