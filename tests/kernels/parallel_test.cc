#include "kernels/parallel.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace attnlab {
namespace {

class ParallelTest : public ::testing::Test {
 protected:
  void TearDown() override {
    SetLaneRunner(nullptr);
    SetLaneCount(lanes_);
  }
  const int lanes_ = LaneCount();
};

TEST_F(ParallelTest, EachItemOnce) {
  for (int lanes : {1, 2, 7, 3}) {
    SetLaneCount(lanes);
    for (int items : {0, 1, 2, 100}) {
      std::vector<std::atomic<int>> calls(items);
      ForEachItem(items, [&](int item) { ++calls[item]; });
      for (int i = 0; i < items; ++i) EXPECT_EQ(calls[i], 1) << lanes << " lanes, item " << i;
    }
  }
}

TEST_F(ParallelTest, ManyRounds) {
  SetLaneCount(3);
  std::atomic<int> sum = 0;
  for (int round = 0; round < 3000; ++round) ForEachItem(3, [&](int item) { sum += item; });
  EXPECT_EQ(sum, 9000);
}

TEST_F(ParallelTest, AfterASleep) {
  SetLaneCount(2);
  for (int round = 0; round < 3; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    std::atomic<int> calls = 0;
    ForEachItem(10, [&](int) { ++calls; });
    EXPECT_EQ(calls, 10);
  }
}

TEST_F(ParallelTest, NestedRunsInItsLane) {
  SetLaneCount(2);
  std::atomic<int> calls = 0;
  ForEachItem(4, [&](int) { ForEachItem(5, [&](int) { ++calls; }); });
  EXPECT_EQ(calls, 20);
}

TEST_F(ParallelTest, SeveralCallers) {
  SetLaneCount(2);
  std::atomic<int> calls = 0;
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([&] {
      for (int round = 0; round < 100; ++round) ForEachItem(3, [&](int) { ++calls; });
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(calls, 1200);
}

int borrowed_lanes = 0;

TEST_F(ParallelTest, BorrowsAPool) {
  SetLaneCount(4);
  SetLaneRunner([](int lanes, void (*task)(void*, int), void* context) {
    borrowed_lanes = lanes;
    for (int lane = 0; lane < lanes; ++lane) task(context, lane);
  });
  int sum = 0;
  ForEachItem(10, [&](int item) { sum += item; });
  EXPECT_EQ(sum, 45);
  EXPECT_EQ(borrowed_lanes, 4);
}

}  // namespace
}  // namespace attnlab
