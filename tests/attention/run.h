// One attention forward and backward for the tests.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "libs/attention/op.h"
#include "tests/attention/dense.h"

namespace attnlab {

struct Results {
  at::Tensor out;
  std::vector<at::Tensor> grads;  // by q, k, v and the learned numbers
};

// `operands` require gradients.
inline Results RunWithGradients(const Operands& operands, const AttentionOptions& options) {
  Results run;
  run.out = Attention(operands.q, operands.k, operands.v, options, operands.learned);
  run.out.backward(operands.out_grad);
  run.grads = {operands.q.grad(), operands.k.grad(), operands.v.grad()};
  for (const at::Tensor& t : operands.learned) run.grads.push_back(t.grad());
  return run;
}

}  // namespace attnlab
