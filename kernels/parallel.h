// The cores that CPU kernels use. By default threads of our own; a program that already has a
// thread pool lends it, since two pools on the same cores make each other wait.
#pragma once

#include <type_traits>

namespace attnlab {

// Runs task(context, lane) for each lane in [0, lanes), at best at the same time, and returns when
// all have ended.
using RunLanesFunction = void (*)(int lanes, void (*task)(void* context, int lane), void* context);

// Takes `run` for all kernels from now on; null = threads of our own. Not while a kernel runs.
void SetLaneRunner(RunLanesFunction run);

// The number of lanes that kernels ask for: at first the machine's cores. At least 1.
void SetLaneCount(int lanes);
int LaneCount();

void RunLanes(int lanes, void (*task)(void* context, int lane), void* context);

// Calls body(item) for each item in [0, items), each on some lane, in no order.
void ForEachItem(int items, void (*body)(void* context, int item), void* context);

template <class Body>
void ForEachItem(int items, Body&& body) {
  using Callable = std::remove_reference_t<Body>;
  ForEachItem(
      items, [](void* context, int item) { (*static_cast<Callable*>(context))(item); },
      const_cast<void*>(static_cast<const void*>(&body)));
}

}  // namespace attnlab
