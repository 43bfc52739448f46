// Attention problems for tests: shapes, masks and inputs with a name, the variant under test, and
// launches of the kernels that are held against the dense computation in float64.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "kernels/bench/oracle.h"
#include "kernels/weighting_info.h"

namespace attnlab::testing {

struct Case {
  std::string name;
  Shape shape;
  Mask mask = {};             // its query offset is keys - queries
  float outlier = 1.0f;       // one number in 50 of q and k is multiplied by it
  float query_scale = 1.0f;   // all of q
  bool same_document = true;  // else each sequence holds three documents
};

// A variant and how to run it.
struct Subject {
  int weighting = -1;  // place in the registry, or -1
  std::vector<ConstantInfo> constants;
  std::vector<Learned> learned;
  std::function<const char*(const ForwardArgs&)> forward;
  std::function<const char*(const BackwardArgs&)> backward;
  std::function<Truth(const Problem&, const Tensors<float>&)> truth;
};

// A line of the registry, through the public launches.
Subject Registered(int weighting);
Subject Registered(const std::string& name);

Tensors<float> MakeInputs(const Subject& subject, const Case& test, uint32_t seed);

// The mask of `test`; `documents` keeps its ids alive.
Mask MakeMask(const Case& test, std::vector<int32_t>& documents);

// [batch, heads, rows, dim], dense.
Operand View(const void* data, int64_t heads, int64_t rows, int64_t dim);
Result MutableView(void* data, int64_t heads, int64_t rows, int64_t dim);

// What forward and backward share, on dense float32 tensors and default constants.
Problem MakeProblem(const Subject& subject, const Case& test, const Mask& mask,
                    const Tensors<float>& x);

// Forward and backward, outputs poisoned first.
Gradients<float> RunKernels(const Subject& subject, const Problem& problem,
                            const Tensors<float>& x);

void ExpectClose(const char* what, const std::vector<float>& got, const std::vector<float>& plain,
                 const std::vector<double>& exact, double terms, double slack);

// Holds forward and backward on `problem` against float64: the error of each result at most twice
// that of a plain float32 computation and `slack` of the largest number.
void ExpectMatchesDense(const Subject& subject, const Problem& problem, const Tensors<float>& x,
                        double slack = 1e-6);
void ExpectMatchesDense(const Subject& subject, const Case& test);

// Tests that take every line of the registry: TEST_P of a class derived from this.
class EveryVariant : public ::testing::TestWithParam<int> {
 protected:
  const Subject subject_ = Registered(GetParam());

  // Calls `body` once for each instruction set of the machine, that one in use.
  void ForEachInstructionSet(const std::function<void()>& body);
};

#define ATTNLAB_FOR_EVERY_VARIANT(Fixture)                                                        \
  INSTANTIATE_TEST_SUITE_P(, Fixture, ::testing::Range(0, static_cast<int>(Weightings().size())), \
                           [](const ::testing::TestParamInfo<int>& info) {                        \
                             return std::string(Weightings()[info.param].text.name);              \
                           })

}  // namespace attnlab::testing
