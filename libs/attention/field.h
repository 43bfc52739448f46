// A tensor as the number that the formulas of kernels/weightings are written over: the words of
// kernels/words.h on whole blocks of scores, differentiable by LibTorch where gradients are on.
//
// A Field is a constant until a tensor enters: 0, 1 and their products cost nothing, so that the
// slopes of Dual<Field> that are 0 or 1 everywhere never become tensors. With gradients off, a word
// that is given the last reference to a tensor writes in place; formulas need not know.
#pragma once

#include <ATen/core/Reduction.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/abs.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/expm1.h>
#include <ATen/ops/log.h>
#include <ATen/ops/neg.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/rsub.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/smooth_l1_loss_backward.h>
#include <ATen/ops/threshold_backward.h>
#include <ATen/ops/where.h>
#include <c10/core/GradMode.h>

#include <cmath>
#include <utility>

#include "kernels/words.h"

namespace attnlab {

class Field {
 public:
  Field() = default;  // the constant 0
  explicit Field(double constant) : constant_(constant) {}
  explicit Field(at::Tensor tensor) : tensor_(std::move(tensor)) {}

  bool is_constant() const { return !tensor_.defined(); }
  bool is_zero() const { return is_constant() && constant_ == 0; }
  bool is_one() const { return is_constant() && constant_ == 1; }
  bool is_same(const Field& other) const {
    return is_constant() ? other.is_constant() && constant_ == other.constant_
                         : tensor_.is_same(other.tensor_);
  }
  double constant() const { return constant_; }
  const at::Tensor& tensor() const { return tensor_; }
  // The tensor, moved out of a Field that is about to end.
  at::Tensor Release() && { return std::move(tensor_); }

  // Nobody else can see this tensor, and no gradient will ask for it.
  bool IsOurs() const {
    return !c10::GradMode::is_enabled() && tensor_.use_count() == 1 &&
           tensor_.storage().use_count() == 1;
  }

 private:
  at::Tensor tensor_;
  double constant_ = 0;
};

namespace internal {

// The result of a + b, a * b, ... has the shape of `a`: it can be written there.
inline bool Covers(const at::Tensor& a, const at::Tensor& b) {
  if (b.dim() > a.dim()) return false;
  for (int64_t i = 1; i <= b.dim(); ++i) {
    if (b.size(-i) != 1 && b.size(-i) != a.size(-i)) return false;
  }
  return true;
}

// A word of one argument: on a constant, in place, or into a new tensor.
template <class OnNumber, class InPlace, class New>
Field Apply(Field x, OnNumber on_number, InPlace in_place, New anew) {
  if (x.is_constant()) return Field(on_number(x.constant()));
  if (x.IsOurs()) {
    in_place(x.tensor());
    return x;
  }
  return Field(anew(x.tensor()));
}

}  // namespace internal

inline Field Exp(Field x) {
  return internal::Apply(
      std::move(x), [](double c) { return std::exp(c); }, [](const at::Tensor& t) { t.exp_(); },
      [](const at::Tensor& t) { return t.exp(); });
}

inline Field Log(Field x) {
  return internal::Apply(
      std::move(x), [](double c) { return std::log(c); }, [](const at::Tensor& t) { t.log_(); },
      [](const at::Tensor& t) { return t.log(); });
}

inline Field Relu(Field x) {
  return internal::Apply(
      std::move(x), [](double c) { return c > 0 ? c : 0; }, [](const at::Tensor& t) { t.relu_(); },
      [](const at::Tensor& t) { return t.relu(); });
}

inline Field Abs(Field x) {
  return internal::Apply(
      std::move(x), [](double c) { return std::fabs(c); }, [](const at::Tensor& t) { t.abs_(); },
      [](const at::Tensor& t) { return t.abs(); });
}

inline Field Sigmoid(Field x) {
  return internal::Apply(
      std::move(x), [](double c) { return 1 / (1 + std::exp(-c)); },
      [](const at::Tensor& t) { t.sigmoid_(); }, [](const at::Tensor& t) { return t.sigmoid(); });
}

inline Field operator-(Field x) {
  return internal::Apply(
      std::move(x), [](double c) { return -c; }, [](const at::Tensor& t) { t.neg_(); },
      [](const at::Tensor& t) { return t.neg(); });
}

inline Field operator+(Field a, Field b) {
  if (a.is_constant()) std::swap(a, b);
  if (a.is_constant()) return Field(a.constant() + b.constant());
  if (b.is_constant()) {
    if (b.is_zero()) return a;
    if (!a.IsOurs()) return Field(a.tensor().add(b.constant()));
    a.tensor().add_(b.constant());
    return a;
  }
  if (!(a.IsOurs() && internal::Covers(a.tensor(), b.tensor()))) std::swap(a, b);
  if (!(a.IsOurs() && internal::Covers(a.tensor(), b.tensor()))) {
    return Field(a.tensor().add(b.tensor()));
  }
  a.tensor().add_(b.tensor());
  return a;
}

inline Field operator*(Field a, Field b) {
  if (a.is_zero() || b.is_zero()) return Field();
  if (a.is_constant()) std::swap(a, b);
  if (a.is_constant()) return Field(a.constant() * b.constant());
  if (b.is_constant()) {
    if (b.is_one()) return a;
    if (!a.IsOurs()) return Field(a.tensor().mul(b.constant()));
    a.tensor().mul_(b.constant());
    return a;
  }
  if (!(a.IsOurs() && internal::Covers(a.tensor(), b.tensor()))) std::swap(a, b);
  if (!(a.IsOurs() && internal::Covers(a.tensor(), b.tensor()))) {
    return Field(a.tensor().mul(b.tensor()));
  }
  a.tensor().mul_(b.tensor());
  return a;
}

inline Field operator-(Field a, Field b) {
  if (b.is_constant()) return std::move(a) + Field(-b.constant());
  if (a.is_constant()) {
    return a.is_zero() ? -std::move(b) : Field(at::rsub(b.tensor(), a.constant()));
  }
  if (!(a.IsOurs() && internal::Covers(a.tensor(), b.tensor()))) {
    return Field(a.tensor().sub(b.tensor()));
  }
  a.tensor().sub_(b.tensor());
  return a;
}

inline Field operator/(Field a, Field b) {
  if (a.is_zero()) return a;
  if (b.is_constant()) return std::move(a) * Field(1 / b.constant());
  if (a.is_constant()) return Field(b.tensor().reciprocal()) * std::move(a);
  return Field(a.tensor().div(b.tensor()));
}

// x where s > 0, else 0.
inline Field IfPositive(const Field& s, Field x) {
  if (s.is_constant()) return s.constant() > 0 ? x : Field();
  if (x.is_zero()) return x;
  if (x.is_constant()) return Field(s.tensor().gt(0).to(s.tensor().scalar_type())) * std::move(x);
  if (!(x.IsOurs() && internal::Covers(x.tensor(), s.tensor()))) {
    return Field(at::threshold_backward(x.tensor(), s.tensor(), 0));
  }
  at::Tensor tensor = std::move(x).Release();
  at::threshold_backward_out(tensor, tensor, s.tensor(), 0);
  return Field(std::move(tensor));
}

// x where s >= 0, else 0.
inline Field IfNonNegative(const Field& s, const Field& x) {
  if (s.is_constant()) return s.constant() >= 0 ? x : Field();
  if (x.is_zero()) return x;
  if (x.is_constant()) return Field(s.tensor().ge(0).to(s.tensor().scalar_type())) * x;
  return Field(at::where(s.tensor().ge(0), x.tensor(), 0));
}

// x with the sign of s, 0 where s is 0: the slope of |s|, which LibTorch computes in one pass as
// that of a smooth l1 loss whose smooth part is too narrow to be met.
inline Field WithSignOf(const Field& s, const Field& x) {
  if (s.is_constant()) return x * Field(double((s.constant() > 0) - (s.constant() < 0)));
  if (x.is_constant()) return Field(s.tensor().sgn()) * x;
  constexpr double kSmooth = 1e-30;
  const at::Tensor zero = at::scalar_tensor(0, x.tensor().options());
  return Field(
      at::smooth_l1_loss_backward(x.tensor(), s.tensor(), zero, at::Reduction::None, kSmooth));
}

namespace internal {

// e^(s-m) - e^-m = base expm1(s - c) with base = e^(c-m) and c = max(0, m - 80): no cancellation
// for small s, no overflow for large s, and where c is not 0 an error of e^-80.
struct ExpDiffParts {
  Field base;
  Field difference;
};

inline ExpDiffParts ExpDiffOf(const Field& s, const Field& m) {
  const Field c = Relu(m - Field(80));
  Field base = Exp(c - m);
  Field grown = Apply(
      s - c, [](double x) { return std::expm1(x); }, [](const at::Tensor& t) { t.expm1_(); },
      [](const at::Tensor& t) { return t.expm1(); });
  Field difference = std::move(grown) * base;
  return {std::move(base), std::move(difference)};
}

}  // namespace internal

inline Field ExpDiff(const Field& s, const Field& m) {
  return internal::ExpDiffOf(s, m).difference;
}

inline Dual<Field> ExpDiff(const Dual<Field>& s, const Field& m) {
  const internal::ExpDiffParts parts = internal::ExpDiffOf(s.value, m);
  return {parts.difference, (parts.difference + parts.base) * s.slope};  // e^(s-m) is their sum
}

}  // namespace attnlab
