// The number type in which kernels evaluate the formula of a variant: a value beside its product
// with log2(e), so that Exp(s - m) is one fused multiply-add and one ex2 instruction. Whichever of
// the two an expression does not use, the compiler drops.
//
// The shift m of a row is a type of its own, which keeps e^-m beside it.
//
// ExpDiff does not go through expm1 here: its cancellation for small |s| costs an absolute error of
// 2^-24 e^-m, far below the rounding of the 16-bit weights that it becomes.
#pragma once

#include "kernels/words.h"

namespace attnlab {

inline constexpr float kLog2E = 1.4426950408889634f;

__device__ __forceinline__ float Exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// 1 / x for 1 <= x < 2^126 to 1.2e-5, well below the rounding of 16-bit weights, without the unit for
// special functions, which Exp2 keeps busy: a guess from the exponent and two Newton steps.
__device__ __forceinline__ float CoarseReciprocal(float x) {
  float y = __int_as_float(0x7EF127EA - __float_as_int(x));
  y = y * fmaf(-x, y, 2.0f);
  return y * fmaf(-x, y, 2.0f);
}

struct Number {
  float value;
  float log2;     // value * log2(e)
  bool negative;  // the number is max(value, 0), the maximum not taken yet; a constant to the
                  // compiler

  Number() = default;
  __device__ __forceinline__ explicit Number(float value)
      : value(value), log2(value * kLog2E), negative(false) {}
  __device__ __forceinline__ Number(float value, float log2)
      : value(value), log2(log2), negative(false) {}

  __device__ __forceinline__ float Value() const { return negative ? fmaxf(value, 0.0f) : value; }
  __device__ __forceinline__ float Log2() const { return negative ? fmaxf(log2, 0.0f) : log2; }
};

// m, m log2(e) and e^-m.
struct Shift {
  float value;
  float log2;
  float exp_minus;

  Shift() = default;
  __device__ __forceinline__ explicit Shift(float value)
      : value(value), log2(value * kLog2E), exp_minus(Exp2(-log2)) {}
  __device__ __forceinline__ Shift(float value, float log2, float exp_minus)
      : value(value), log2(log2), exp_minus(exp_minus) {}
  __device__ __forceinline__ operator Number() const { return {value, log2}; }
};

__device__ __forceinline__ Number operator+(const Number& a, const Number& b) {
  return {a.Value() + b.Value(), a.Log2() + b.Log2()};
}
__device__ __forceinline__ Number operator-(const Number& a, const Number& b) {
  return {a.Value() - b.Value(), a.Log2() - b.Log2()};
}
__device__ __forceinline__ Number operator-(const Number& a) { return {-a.Value(), -a.Log2()}; }
__device__ __forceinline__ Number operator*(const Number& a, const Number& b) {
  return Number(a.Value() * b.Value());
}
__device__ __forceinline__ Number Exp(const Number& x) { return Number(Exp2(x.Log2())); }
__device__ __forceinline__ Number operator-(const Number& s, const Shift& m) {
  return s - Number(m);
}
__device__ __forceinline__ Dual<Number> operator-(const Dual<Number>& s, const Shift& m) {
  return {s.value - m, s.slope};
}
__device__ __forceinline__ Number ExpDiff(const Number& s, const Shift& m) {
  return Number(Exp2(s.Log2() - m.log2) - m.exp_minus);
}
__device__ __forceinline__ Dual<Number> ExpDiff(const Dual<Number>& s, const Shift& m) {
  return {ExpDiff(s.value, m), Exp(s.value - m) * s.slope};
}
__device__ __forceinline__ Number Exp(const Shift& m) { return Exp(Number(m)); }
__device__ __forceinline__ Number operator-(const Shift& m) { return -Number(m); }
// Taken when the weight is rounded to 16 bits, for nothing, or by whoever asks for the value
// before.
__device__ __forceinline__ Number Relu(const Number& x) {
  Number y = x;
  y.negative = true;
  return y;
}
// max(x, 0)^2 is max(x |x|, 0), whose maximum can wait as well.
__device__ __forceinline__ Number Square(const Number& x) {
  Number y(x.value * (x.negative ? fabsf(x.value) : x.value));
  y.negative = x.negative;
  return y;
}
__device__ __forceinline__ Number Abs(const Number& x) { return Number(fabsf(x.Value())); }
__device__ __forceinline__ Number Sigmoid(const Number& x) {
  return Number(CoarseReciprocal(1.0f + Exp2(fminf(-x.Log2(), 125.0f))));
}
__device__ __forceinline__ Number IfNonNegative(const Number& s, const Number& x) {
  return Number(s.Value() < 0.0f ? 0.0f : x.Value());
}
__device__ __forceinline__ Number WithSignOf(const Number& s, const Number& x) {
  const float value = x.Value();
  return Number(s.Value() > 0.0f ? value : (s.Value() < 0.0f ? -value : 0.0f));
}
__device__ __forceinline__ Number IfPositive(const Number& s, const Number& x) {
  return Number(s.Value() > 0.0f ? x.Value() : 0.0f);
}

}  // namespace attnlab
