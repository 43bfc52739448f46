#include "kernels/parallel.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace attnlab {
namespace {

constexpr int kSpins = 2000;  // looks at the clock hand before a thread goes to sleep

// Threads 1.. of a team whose thread 0 is the caller. A round begins when `round` moves.
class Team {
 public:
  void Run(int lanes, void (*task)(void*, int), void* context) {
    const std::lock_guard<std::mutex> one_caller(mutex_);
    while (static_cast<int>(threads_.size()) + 1 < lanes) {
      const int lane = static_cast<int>(threads_.size()) + 1;
      threads_.emplace_back(&Team::Work, this, lane, round_.load());
    }
    task_ = task;
    context_ = context;
    lanes_ = lanes;
    waiting_for_.store(static_cast<int>(threads_.size()), std::memory_order_relaxed);
    round_.fetch_add(1, std::memory_order_release);
    round_.notify_all();
    task(context, 0);
    Await([&] { return waiting_for_.load(std::memory_order_acquire) == 0; },
          [&](int left) { waiting_for_.wait(left); });
  }

 private:
  template <class Done, class Sleep>
  void Await(Done done, Sleep sleep) {
    for (int i = 0; i < kSpins; ++i) {
      if (done()) return;
      std::this_thread::yield();
    }
    while (!done()) {
      const int left = waiting_for_.load();
      if (left != 0) sleep(left);
    }
  }

  void Work(int lane, uint32_t seen) {
    for (;;) {
      for (int i = 0; i < kSpins && round_.load(std::memory_order_acquire) == seen; ++i) {
        std::this_thread::yield();
      }
      round_.wait(seen, std::memory_order_acquire);
      ++seen;
      if (lane < lanes_) task_(context_, lane);
      if (waiting_for_.fetch_sub(1, std::memory_order_acq_rel) == 1) waiting_for_.notify_all();
    }
  }

  std::mutex mutex_;
  std::vector<std::thread> threads_;
  std::atomic<uint32_t> round_{0};
  std::atomic<int> waiting_for_{0};
  void (*task_)(void*, int) = nullptr;
  void* context_ = nullptr;
  int lanes_ = 1;
};

std::atomic<RunLanesFunction> lane_runner{nullptr};
std::atomic<int> lane_count{0};
thread_local bool inside_lane = false;

// Marks the thread, so that a kernel started by a lane runs on that lane alone.
struct LaneCall {
  void (*task)(void*, int);
  void* context;
};
void MarkedTask(void* context, int lane) {
  const auto& call = *static_cast<const LaneCall*>(context);
  const bool outside = !inside_lane;
  inside_lane = true;
  call.task(call.context, lane);
  if (outside) inside_lane = false;
}

}  // namespace

void SetLaneRunner(RunLanesFunction run) { lane_runner = run; }

void SetLaneCount(int lanes) { lane_count = std::max(lanes, 1); }

int LaneCount() {
  const int lanes = lane_count;
  return lanes > 0 ? lanes : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

void RunLanes(int lanes, void (*task)(void* context, int lane), void* context) {
  if (lanes <= 1 || inside_lane) {
    for (int lane = 0; lane < lanes; ++lane) task(context, lane);
    return;
  }
  LaneCall call{task, context};
  if (const RunLanesFunction run = lane_runner) {
    run(lanes, MarkedTask, &call);
    return;
  }
  static Team& team = *new Team;  // never destroyed: its threads may outlive main
  team.Run(lanes, MarkedTask, &call);
}

void ForEachItem(int items, void (*body)(void* context, int item), void* context) {
  struct Queue {
    std::atomic<int> next{0};
    int items;
    void (*body)(void*, int);
    void* context;
  } queue{{0}, items, body, context};
  RunLanes(
      std::min(LaneCount(), items),
      [](void* shared, int) {
        Queue& queue = *static_cast<Queue*>(shared);
        for (int item = queue.next++; item < queue.items; item = queue.next++) {
          queue.body(queue.context, item);
        }
      },
      &queue);
}

}  // namespace attnlab
