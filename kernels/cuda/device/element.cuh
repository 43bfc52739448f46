// 16-bit elements: what kernels need of bfloat16 and float16.
#pragma once

#include <cstdint>

namespace attnlab {

struct BFloat16 {
  static constexpr bool kBrain = true;
  uint16_t bits;
};
struct Float16 {
  static constexpr bool kBrain = false;
  uint16_t bits;
};

__device__ __forceinline__ float ToFloat(float x) { return x; }
__device__ __forceinline__ float ToFloat(BFloat16 x) {
  return __uint_as_float(static_cast<uint32_t>(x.bits) << 16);
}
__device__ __forceinline__ float ToFloat(Float16 x) {
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
  return y;
}

template <class Element>
__device__ __forceinline__ Element FromFloat(float x);
template <>
__device__ __forceinline__ float FromFloat<float>(float x) {
  return x;
}
template <>
__device__ __forceinline__ BFloat16 FromFloat<BFloat16>(float x) {
  BFloat16 y;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
  return y;
}
template <>
__device__ __forceinline__ Float16 FromFloat<Float16>(float x) {
  Float16 y;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
  return y;
}

// Two elements in one register, the first in the low half; negative ones become 0 if kRectify.
template <class Element, bool kRectify = false>
__device__ __forceinline__ uint32_t Pack(float low, float high) {
  uint32_t pair;
  if constexpr (Element::kBrain && kRectify) {
    asm("cvt.rn.relu.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  } else if constexpr (Element::kBrain) {
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  } else if constexpr (kRectify) {
    asm("cvt.rn.relu.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  } else {
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  }
  return pair;
}

template <class Element>
__device__ __forceinline__ float Low(uint32_t pair) {
  return ToFloat(Element{static_cast<uint16_t>(pair)});
}
template <class Element>
__device__ __forceinline__ float High(uint32_t pair) {
  return ToFloat(Element{static_cast<uint16_t>(pair >> 16)});
}

}  // namespace attnlab
