// What the inputs of a layer's matrices look like, gathered while the layer runs over calibration
// text.
#pragma once

#include <cstdint>

#include "libs/compress/method.h"
#include "libs/model/probe.h"

namespace attnlab {

class MomentsProbe : public ForwardProbe {
 public:
  // `total_tokens` that all passes together will see: the sample is spread evenly over them.
  MomentsProbe(const CalibrationNeeds& needs, int64_t total_tokens)
      : needs_(needs), total_tokens_(total_tokens) {}

  void OnMatrixInput(int64_t layer, MatrixSlot first, const at::Tensor& input) override;

  // The moments of everything seen.
  LayerInputs Finish() const;

 private:
  struct Sums {
    int64_t sequences = 0, tokens = 0;
    at::Tensor squares, absolutes, largest;  // [in]
    at::Tensor products;                     // [in, in]
    std::vector<at::Tensor> sample;
  };
  void AddTokens(const at::Tensor& x, Sums& sums) const;  // [tokens, in] float32
  InputMoments Finish(const Sums& sums) const;

  const CalibrationNeeds needs_;
  const int64_t total_tokens_;
  Sums attention_, output_, mlp_, down_;
};

// The moments that matrix `slot` multiplies.
const InputMoments& MomentsOf(const LayerInputs& inputs, MatrixSlot slot);

}  // namespace attnlab
