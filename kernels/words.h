// The words in which the formula of an attention variant is written, for plain numbers and for dual
// numbers:
//
//     Exp(x)               e^x
//     ExpDiff(s, m)        e^(s-m) - e^-m; through expm1 for small s, where the difference cancels
//     Log(x)               ln x
//     Relu(x)              max(x, 0); its slope at 0 is 0
//     Square(x)            x x
//     Abs(x)               |x|; its slope at 0 is 0
//     Sigmoid(x)           1 / (1 + e^-x)
//     IfNonNegative(s, x)  0 where s < 0, else x
//
// and + - * and unary minus. Whoever brings another number type (SIMD vectors, tensors) brings
// overloads of these words in the namespace of that type, where argument-dependent lookup finds
// them, and a constructor from float. A NaN stays a NaN in all of them.
//
// A Dual carries a value and its slope along one direction, so that Weigh(Dual{s, 1}, m) gives W
// and W' at once.
#pragma once

#include <cmath>
#include <concepts>

#if defined(__CUDACC__)
#define ATTNLAB_HD __host__ __device__ __forceinline__
#else
// Forced inline: the same formula is compiled for several instruction sets, and the linker must not
// mix them.
#define ATTNLAB_HD inline __attribute__((always_inline))
#endif

namespace attnlab {

template <std::floating_point F>
ATTNLAB_HD F Exp(F x) {
  return std::exp(x);
}

template <std::floating_point F>
ATTNLAB_HD F Log(F x) {
  return std::log(x);
}

template <std::floating_point F>
ATTNLAB_HD F ExpDiff(F s, F m) {
  return s > F(-0.5) && s < F(0.5) ? std::exp(-m) * std::expm1(s) : std::exp(s - m) - std::exp(-m);
}

template <std::floating_point F>
ATTNLAB_HD F Relu(F x) {
  return x < F(0) ? F(0) : x;
}

template <std::floating_point F>
ATTNLAB_HD F Abs(F x) {
  return std::fabs(x);
}

template <std::floating_point F>
ATTNLAB_HD F Sigmoid(F x) {
  return F(1) / (F(1) + std::exp(-x));
}

template <std::floating_point F>
ATTNLAB_HD F IfNonNegative(F s, F x) {
  return s < F(0) ? F(0) : x;
}

template <class T>
ATTNLAB_HD T Square(const T& x) {
  return x * x;
}

// x where s > 0, -x where s < 0, 0 where s = 0. Formulas do not use this word and the next one;
// they make the slopes of Abs and Relu.
template <std::floating_point F>
ATTNLAB_HD F WithSignOf(F s, F x) {
  return s > F(0) ? x : (s < F(0) ? -x : F(0));
}

template <std::floating_point F>
ATTNLAB_HD F IfPositive(F s, F x) {
  return s > F(0) ? x : F(0);
}

template <class T>
struct Dual {
  T value;
  T slope;

  Dual() = default;
  ATTNLAB_HD explicit Dual(float constant) : value(constant), slope(0.0f) {}
  ATTNLAB_HD Dual(T value, T slope) : value(value), slope(slope) {}
};

template <class T>
ATTNLAB_HD Dual<T> operator+(const Dual<T>& a, const Dual<T>& b) {
  return {a.value + b.value, a.slope + b.slope};
}
template <class T>
ATTNLAB_HD Dual<T> operator-(const Dual<T>& a, const Dual<T>& b) {
  return {a.value - b.value, a.slope - b.slope};
}
template <class T>
ATTNLAB_HD Dual<T> operator-(const Dual<T>& a, const T& b) {
  return {a.value - b, a.slope};
}
template <class T>
ATTNLAB_HD Dual<T> operator-(const Dual<T>& a) {
  return {-a.value, -a.slope};
}
template <class T>
ATTNLAB_HD Dual<T> operator*(const Dual<T>& a, const Dual<T>& b) {
  return {a.value * b.value, a.value * b.slope + a.slope * b.value};
}

template <class T>
ATTNLAB_HD Dual<T> Exp(const Dual<T>& x) {
  const T e = Exp(x.value);
  return {e, e * x.slope};
}

template <class T>
ATTNLAB_HD Dual<T> Log(const Dual<T>& x) {
  return {Log(x.value), x.slope / x.value};
}

template <class T>
ATTNLAB_HD Dual<T> ExpDiff(const Dual<T>& s, const T& m) {
  return {ExpDiff(s.value, m), Exp(s.value - m) * s.slope};
}

template <class T>
ATTNLAB_HD Dual<T> Relu(const Dual<T>& x) {
  return {Relu(x.value), IfPositive(x.value, x.slope)};
}

template <class T>
ATTNLAB_HD Dual<T> Abs(const Dual<T>& x) {
  return {Abs(x.value), WithSignOf(x.value, x.slope)};
}

template <class T>
ATTNLAB_HD Dual<T> Square(const Dual<T>& x) {
  return {Square(x.value), (x.value + x.value) * x.slope};
}

template <class T>
ATTNLAB_HD Dual<T> Sigmoid(const Dual<T>& x) {
  const T y = Sigmoid(x.value);
  return {y, y * (T(1.0f) - y) * x.slope};
}

template <class T>
ATTNLAB_HD Dual<T> IfNonNegative(const Dual<T>& s, const Dual<T>& x) {
  return {IfNonNegative(s.value, x.value), IfNonNegative(s.value, x.slope)};
}

}  // namespace attnlab
