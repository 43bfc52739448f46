#include "kernels/cpu/scratch.h"

#include <new>

namespace attnlab {
namespace {

constexpr std::align_val_t kAlignment{64};

struct Buffer {
  void* data = nullptr;
  size_t bytes = 0;

  ~Buffer() { Release(); }
  void Release() { operator delete(data, kAlignment); }
};

}  // namespace

void* LaneScratch(Scratch purpose, size_t bytes) {
  thread_local Buffer buffers[static_cast<int>(Scratch::kCount)];
  Buffer& buffer = buffers[static_cast<int>(purpose)];
  if (buffer.bytes < bytes) {
    buffer.Release();
    buffer.data = nullptr;
    buffer.bytes = 0;
    buffer.data = operator new(bytes, kAlignment);
    buffer.bytes = bytes;
  }
  return buffer.data;
}

}  // namespace attnlab
