// An attention variant of kernels/weightings.def as functions of tensors, with its constants set:
// what reference.cc and blocked.cc know of a formula. The one file that instantiates the formulas
// over Field is tensor_weighting.cc.
#pragma once

#include <memory>

#include "kernels/weighting.h"
#include "libs/attention/field.h"
#include "libs/attention/options.h"

namespace attnlab {

class TensorWeighting {
 public:
  virtual ~TensorWeighting() = default;

  virtual bool shifted() const = 0;
  virtual int learned_count() const = 0;

  // The members of a variant (kernels/weighting.h), a row constant being a Field that broadcasts
  // over the row's scores.
  virtual Field Floor(const Row<Field>& row) const = 0;
  virtual Field Tail(const Field& m, const Row<Field>& row) const = 0;
  virtual Affine<Field> Score(const Row<Field>& row) const = 0;
  virtual Weights<Field> Weigh(const Field& s, const Field& m) const = 0;

  // W, W', M, M', slopes by the score.
  virtual Weights<Dual<Field>> WeighDual(const Field& s, const Field& m) const = 0;
  // Tail and Score with their slopes by learned number `index` of the head.
  virtual Dual<Field> TailDual(const Field& m, const Row<Field>& row, int index) const = 0;
  virtual Affine<Dual<Field>> ScoreDual(const Row<Field>& row, int index) const = 0;
};

// The variant that valid `options` name.
std::unique_ptr<const TensorWeighting> MakeTensorWeighting(const AttentionOptions& options);

}  // namespace attnlab
