// The list of work of a launch on sm_90a whose blocks stay: a block that is done with a piece takes
// the next one. Its copying warp asks for it ahead and tells the warps that multiply.
//
// A warp that multiplies may ask for its piece again, in another manner (`careful`). The copying
// warp knows of it once all warps have taken the order after that one.
#pragma once

#include "kernels/cuda/device/hopper_tiles.cuh"

namespace attnlab::hopper {

struct WorkOrders {
  uint64_t full[2], empty[2];
  int order[2];
  int told[4];   // the last ones; the copying thread's own
  int again[4];  // whether they are asked for again

  // An order is 2 * index + careful, or one of these.
  static constexpr int kEnd = -1, kNothing = -2;
  // Once this one and two more are told, all warps are done with an order.
  static constexpr int kDelay = 3;

  __device__ __forceinline__ void Init() {
    InitRing(full, empty, 4 * kGroups);
    for (int& flag : again) flag = 0;
  }
};

// The copying warp's side. kAgain: pieces may be asked for again.
template <bool kAgain>
struct OrderGiver {
  WorkOrders& orders;
  RingPlace<2> place;
  int ordinal = 0;

  // The order to be given again, or kEnd.
  __device__ __forceinline__ int Tell(int order) {
    int again = WorkOrders::kEnd;
    Wait(&orders.empty[place.stage], place.parity ^ 1);
    if (Elected()) {
      if (kAgain && ordinal >= WorkOrders::kDelay) {
        const int done = (ordinal - WorkOrders::kDelay) % 4;
        if (orders.again[done] != 0) again = orders.told[done];
        orders.again[done] = 0;
      }
      orders.told[ordinal % 4] = order;
      orders.order[place.stage] = order;
      Arrive(&orders.full[place.stage]);
    }
    ++ordinal;
    place.Advance();
    return kAgain ? __shfl_sync(~0u, again, 0) : again;
  }

  // body(index) for each of the `count` pieces that this block takes; `taken` counts those that all
  // blocks took beyond their first.
  template <class Body>
  __device__ __forceinline__ void ForEach(int count, int* taken, const Body& body) {
    int index = blockIdx.x, again = WorkOrders::kEnd, idle = 0;
    for (;;) {
      const bool fresh = again < 0 && index < count;
      int order = kAgain && idle < WorkOrders::kDelay ? WorkOrders::kNothing : WorkOrders::kEnd;
      if (again >= 0) order = again | 1;
      if (fresh) order = 2 * index;
      again = Tell(order);
      if (order == WorkOrders::kEnd) return;
      idle = order == WorkOrders::kNothing ? idle + 1 : 0;
      int next = 0;
      if (fresh && Elected()) next = atomicAdd(taken, 1);
      if (order >= 0) body(order / 2);
      if (fresh) index = static_cast<int>(gridDim.x) + __shfl_sync(~0u, next, 0);
    }
  }
};

// A multiplying warp's side.
struct OrderTaker {
  WorkOrders& orders;
  RingPlace<2> place;
  int ordinal = -1;

  // body(index, careful) for each piece.
  template <class Body>
  __device__ __forceinline__ void ForEach(const Body& body) {
    for (;;) {
      const int order = Next();
      if (order == WorkOrders::kEnd) return;
      if (order >= 0) body(order / 2, order % 2 != 0);
    }
  }
  // Asks for the present piece again; by one lane.
  __device__ __forceinline__ void AskAgain() const { atomicOr(&orders.again[ordinal % 4], 1); }

 private:
  __device__ __forceinline__ int Next() {
    int order = 0;
    Wait(&orders.full[place.stage], place.parity);
    if (threadIdx.x % 32 == 0) {
      order = *static_cast<volatile int*>(&orders.order[place.stage]);
      Arrive(&orders.empty[place.stage]);
    }
    place.Advance();
    ++ordinal;
    return __shfl_sync(~0u, order, 0);
  }
};

}  // namespace attnlab::hopper
