// A SIMD vector of floats as wide as the instruction set that this file is compiled for, with the
// words of kernels/words.h. CMake compiles the users of this header once per instruction set;
// ATTNLAB_ISA names the namespace, so that the linker keeps the copies apart.
//
// e^x: range reduction by ln 2 in two parts and the degree-5 polynomial of Cephes' expf, about one
// unit in the last place; results below 1e-38 are 0. NaN stays NaN.
#pragma once

#include <cstdint>

#include "kernels/words.h"

#ifndef ATTNLAB_ISA
#define ATTNLAB_ISA baseline
#endif

namespace attnlab::ATTNLAB_ISA {

#if defined(__AVX512F__)
inline constexpr int kWidth = 16;
#elif defined(__AVX2__)
inline constexpr int kWidth = 8;
#else
inline constexpr int kWidth = 4;
#endif

struct Vec {
  typedef float Floats __attribute__((vector_size(kWidth * 4)));
  typedef int32_t Ints __attribute__((vector_size(kWidth * 4)));
  typedef uint32_t Bits __attribute__((vector_size(kWidth * 4)));
  Floats f;

  Vec() = default;
  ATTNLAB_HD explicit Vec(Floats floats) : f(floats) {}
  ATTNLAB_HD explicit Vec(float x) : f(x - Floats{}) {}
};

ATTNLAB_HD Vec Load(const float* p) {
  Vec v;
  __builtin_memcpy(&v.f, p, sizeof(v.f));
  return v;
}
ATTNLAB_HD void Store(float* p, Vec v) { __builtin_memcpy(p, &v.f, sizeof(v.f)); }

// 0, 1, 2, ...
ATTNLAB_HD Vec LaneIndex() {
  Vec v(0.0f);
  for (int i = 0; i < kWidth; ++i) v.f[i] = static_cast<float>(i);
  return v;
}

ATTNLAB_HD Vec operator+(Vec a, Vec b) { return Vec(a.f + b.f); }
ATTNLAB_HD Vec operator-(Vec a, Vec b) { return Vec(a.f - b.f); }
ATTNLAB_HD Vec operator-(Vec a) { return Vec(-a.f); }
ATTNLAB_HD Vec operator*(Vec a, Vec b) { return Vec(a.f * b.f); }
ATTNLAB_HD Vec operator/(Vec a, Vec b) { return Vec(a.f / b.f); }
// Of a number and a NaN they give b.
ATTNLAB_HD Vec Max(Vec a, Vec b) { return Vec(a.f > b.f ? a.f : b.f); }
ATTNLAB_HD Vec Min(Vec a, Vec b) { return Vec(a.f < b.f ? a.f : b.f); }

// `a` where `keep` is not 0, else `b`: a choice, so what is not kept may be infinite or no number.
ATTNLAB_HD Vec Select(Vec keep, Vec a, Vec b) { return Vec(keep.f != 0.0f ? a.f : b.f); }

// `v` with lane i + shift in lane i, around the end.
template <int kShift>
ATTNLAB_HD Vec Rotate(Vec v) {
  Vec::Ints from;
  for (int i = 0; i < kWidth; ++i) from[i] = (i + kShift) % kWidth;
  return Vec(__builtin_shuffle(v.f, from));
}

template <int kHalf = kWidth / 2>
ATTNLAB_HD float MaxOf(Vec v) {
  v = Max(v, Rotate<kHalf>(v));
  if constexpr (kHalf > 1) return MaxOf<kHalf / 2>(v);
  return v.f[0];
}

template <int kHalf = kWidth / 2>
ATTNLAB_HD float SumOf(Vec v) {
  v = v + Rotate<kHalf>(v);
  if constexpr (kHalf > 1) return SumOf<kHalf / 2>(v);
  return v.f[0];
}

// e^r - 1 for |r| <= ln(2) / 2.
ATTNLAB_HD Vec SmallExpm1(Vec r) {
  Vec p(1.9875691500e-4f);
  p = p * r + Vec(1.3981999507e-3f);
  p = p * r + Vec(8.3334519073e-3f);
  p = p * r + Vec(4.1665795894e-2f);
  p = p * r + Vec(1.6666665459e-1f);
  p = p * r + Vec(5.0000001201e-1f);
  return p * (r * r) + r;
}

ATTNLAB_HD Vec Exp(Vec x) {
  const Vec bounded = Min(Vec(88.37626f), x);
  // Adding 1.5 * 2^23 leaves the nearest whole number of x / ln 2 in the low bits of the sum.
  const Vec rounder(12582912.0f);
  const Vec shifted = bounded * Vec(1.44269504088896341f) + rounder;
  const Vec whole = shifted - rounder;
  const Vec r = (bounded - whole * Vec(0.693359375f)) + whole * Vec(2.12194440e-4f);
  const Vec::Bits exponent = (Vec::Bits)shifted.f << 23;
  const Vec scaled((Vec::Floats)((Vec::Bits)(SmallExpm1(r) + Vec(1.0f)).f + exponent));
  return Vec(x.f < -87.33654f ? Vec(0.0f).f : scaled.f);
}

ATTNLAB_HD Vec ExpDiff(Vec s, Vec m) {
  const Vec base = Exp(-m);
  const Vec limit(0.34f);
  const Vec small = base * SmallExpm1(Min(Max(s, -limit), limit));
  const Vec plain = Exp(s - m) - base;
  return Vec((s.f > -limit.f) & (s.f < limit.f) ? small.f : plain.f);
}

ATTNLAB_HD Vec Relu(Vec x) { return Max(Vec(0.0f), x); }
ATTNLAB_HD Vec Abs(Vec x) { return Max(x, -x); }
ATTNLAB_HD Vec Sigmoid(Vec x) { return Vec(1.0f) / (Vec(1.0f) + Exp(-x)); }
ATTNLAB_HD Vec IfNonNegative(Vec s, Vec x) { return Vec(s.f < 0.0f ? Vec(0.0f).f : x.f); }
ATTNLAB_HD Vec IfPositive(Vec s, Vec x) { return Vec(s.f > 0.0f ? x.f : Vec(0.0f).f); }
ATTNLAB_HD Vec WithSignOf(Vec s, Vec x) { return Vec(s.f > 0.0f ? x.f : IfPositive(-s, -x).f); }

}  // namespace attnlab::ATTNLAB_ISA
