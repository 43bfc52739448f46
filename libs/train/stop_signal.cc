#include "libs/train/stop_signal.h"

#include <csignal>

namespace attnlab {
namespace {

volatile std::sig_atomic_t stop_requested = 0;

void OnSignal(int signal) {
  stop_requested = 1;
  std::signal(signal, SIG_DFL);
}

}  // namespace

void CatchStopSignals() {
  std::signal(SIGTERM, OnSignal);
  std::signal(SIGINT, OnSignal);
}

bool StopRequested() { return stop_requested != 0; }

}  // namespace attnlab
