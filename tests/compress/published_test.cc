// GPTQ, SparseGPT, Wanda and magnitude pruning against what their programs, as published, make of
// the same weights and inputs (tests/golden/compress/record_second_order.py).

#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <string>

#include "libs/compress/gptq.h"
#include "libs/compress/masks.h"
#include "libs/compress/sparsegpt.h"
#include "libs/model/tensor_io.h"

namespace attnlab {
namespace {

class Published : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* other = std::getenv("ATTNLAB_SECOND_ORDER");  // a record of another shape
    const auto loaded =
        LoadTensors(other != nullptr ? std::string(other)
                                     : std::string(ATTNLAB_SOURCE_DIR) +
                                           "/tests/golden/compress/second_order.safetensors");
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    tensors_ = {loaded->begin(), loaded->end()};
  }

  const at::Tensor& Get(const std::string& name) { return tensors_.at(name); }

 private:
  std::map<std::string, at::Tensor> tensors_;
};

double ShareEqual(const at::Tensor& a, const at::Tensor& b) {
  return a.eq(b).to(at::kDouble).mean().item<double>();
}

double RelativeDistance(const at::Tensor& values, const at::Tensor& reference) {
  return ((values - reference).norm() / reference.norm()).item<double>();
}

TEST_F(Published, Gptq) {
  const std::map<std::string, GptqOptions> cases = {
      {"c4a", {}},
      {"c3s", {.bits = 3, .symmetric = true}},
      {"c2a", {.bits = 2}},
      {"c8a", {.bits = 8}},
      {"g4", {.group_size = 128, .symmetric = true}},
      {"g4_64", {.group_size = 64}},
      {"act4", {.act_order = true}},
      {"gact4", {.group_size = 128, .act_order = true}},
      {"gact3static",
       {.bits = 3, .group_size = 64, .symmetric = true, .act_order = true, .static_groups = true}},
      {"g4static", {.group_size = 64, .static_groups = true}},
      {"g4mse", {.group_size = 128, .mse = true}},
  };
  for (const auto& [name, options] : cases) {
    SCOPED_TRACE(name);
    const auto solved = SolveGptq(Get("weight"), Get("hessian"), options);
    ASSERT_TRUE(solved.ok()) << solved.status();
    const at::Tensor same = solved->codes.eq(Get("gptq." + name + ".codes"));
    const double equal = same.to(at::kDouble).mean().item<double>();
    const at::Tensor rows = same.all(1, /*keepdim=*/true);  // a code apart moves all behind it
    const double distance =
        RelativeDistance(solved->values * rows, Get("gptq." + name + ".values") * rows);
    const double loss = solved->loss / Get("gptq." + name + ".loss").item<double>() - 1;
    RecordProperty(name, ::testing::PrintToString(equal) + " of codes, values of equal rows " +
                             ::testing::PrintToString(distance) + ", loss " +
                             ::testing::PrintToString(loss));
    EXPECT_GE(equal, 0.999);
    EXPECT_LE(distance, 1e-5);
    EXPECT_NEAR(loss, 0, 1e-4);
  }
}

TEST_F(Published, SparseGpt) {
  const std::map<std::string, SparseGptOptions> cases = {
      {"u5", {}},
      {"u7", {.sparsity = 0.7}},
      {"24", {.zeros = 2, .period = 4}},
      {"48", {.zeros = 4, .period = 8}},
      {"u5q4", {.bits = 4}},
  };
  for (const auto& [name, options] : cases) {
    SCOPED_TRACE(name);
    const auto solved = SolveSparseGpt(Get("weight"), Get("hessian"), options);
    ASSERT_TRUE(solved.ok()) << solved.status();
    const at::Tensor& reference = Get("sparsegpt." + name);
    const double equal = ShareEqual(solved->values.eq(0), reference.eq(0));
    const double distance = RelativeDistance(solved->values, reference);
    RecordProperty("s" + name, ::testing::PrintToString(equal) + " of the mask, values " +
                                   ::testing::PrintToString(distance));
    EXPECT_GE(equal, 0.9999);
    if (equal == 1 && options.bits == 0) {
      EXPECT_LE(distance, 1e-5);
    }
  }
}

TEST_F(Published, MasksAreIdentical) {
  const at::Tensor& weight = Get("weight");
  const auto expect = [&](const std::string& name, const at::Tensor& mask) {
    EXPECT_EQ(ShareEqual(mask, Get(name).to(at::kBool)), 1) << name;
  };
  const std::map<std::string, at::Tensor> scores = {
      {"magnitude", weight.abs()}, {"wanda", WandaScores(weight, Get("square_norm"))}};
  for (const auto& [method, score] : scores) {
    expect(method + ".24", MaskOfPeriods(score, 2, 4));
    expect(method + ".48", MaskOfPeriods(score, 4, 8));
  }
  expect("magnitude.u3", MaskOfAll(scores.at("magnitude"), 0.3));
  expect("magnitude.u5", MaskOfAll(scores.at("magnitude"), 0.5));
  expect("wanda.u3", MaskOfRows(scores.at("wanda"), 0.3));
  expect("wanda.u5", MaskOfRows(scores.at("wanda"), 0.5));
  expect("wanda.v3", MaskOfScoreShare(scores.at("wanda"), 0.3));
  expect("wanda.v5", MaskOfScoreShare(scores.at("wanda"), 0.5));
}

}  // namespace
}  // namespace attnlab
