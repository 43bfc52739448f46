// Threads that work on items and hand the results back in the order of the items, with a bounded
// number of items in flight.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "libs/core/status.h"

namespace attnlab {

template <class In, class Out>
class OrderedPool {
 public:
  // `work` runs on the pool's threads; `sink` runs on the caller's thread, within Push and Finish,
  // and its first error ends the work.
  OrderedPool(int threads, std::function<Out(In)> work, std::function<absl::Status(Out)> sink)
      : limit_(4 * threads), work_(std::move(work)), sink_(std::move(sink)) {
    for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Serve(); });
  }
  ~OrderedPool() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      waiting_.clear();
      closed_ = true;
    }
    work_arrived_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }
  OrderedPool(const OrderedPool&) = delete;
  OrderedPool& operator=(const OrderedPool&) = delete;

  absl::Status Push(In item) {
    ATTNLAB_RETURN_IF_ERROR(Drain(limit_ - 1));
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      in_flight_.push_back(std::make_shared<Slot>());
      waiting_.emplace_back(std::move(item), in_flight_.back());
    }
    work_arrived_.notify_one();
    return absl::OkStatus();
  }

  // Waits for all items.
  absl::Status Finish() { return Drain(0); }

 private:
  struct Slot {
    std::optional<Out> result;
  };

  // Hands finished results to the sink; waits until at most `left` items are in flight.
  absl::Status Drain(size_t left) {
    std::unique_lock<std::mutex> lock(mutex_);
    while (!in_flight_.empty()) {
      const std::shared_ptr<Slot> first = in_flight_.front();
      if (!first->result) {
        if (in_flight_.size() <= left) break;
        result_arrived_.wait(lock, [&] { return first->result.has_value(); });
      }
      in_flight_.pop_front();
      lock.unlock();
      ATTNLAB_RETURN_IF_ERROR(sink_(*std::move(first->result)));
      lock.lock();
    }
    return absl::OkStatus();
  }

  void Serve() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      work_arrived_.wait(lock, [&] { return closed_ || !waiting_.empty(); });
      if (waiting_.empty()) return;
      auto [item, slot] = std::move(waiting_.front());
      waiting_.pop_front();
      lock.unlock();
      Out result = work_(std::move(item));
      lock.lock();
      slot->result = std::move(result);
      result_arrived_.notify_one();
    }
  }

  const size_t limit_;
  const std::function<Out(In)> work_;
  const std::function<absl::Status(Out)> sink_;
  std::mutex mutex_;
  std::condition_variable work_arrived_, result_arrived_;
  std::deque<std::pair<In, std::shared_ptr<Slot>>> waiting_;
  std::deque<std::shared_ptr<Slot>> in_flight_;
  bool closed_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace attnlab
