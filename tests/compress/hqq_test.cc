// HQQ against what its package recorded, its objective in float64, and by hand.

#include "libs/compress/hqq.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "libs/compress/method_list.h"
#include "libs/model/tensor_io.h"
#include "libs/packed/hqq_format.h"

namespace attnlab {
namespace {

using testing::HasSubstr;

at::Tensor Normal(at::IntArrayRef shape, uint64_t seed) {
  return at::randn(shape, at::detail::createCPUGenerator(seed));
}

std::shared_ptr<const StoredMatrix> Quantize(const at::Tensor& weight, const HqqFormat& format,
                                             HqqSolver solver) {
  const int64_t rows = weight.size(0), cols = weight.size(1);
  const HqqView view = GroupedView(format, rows, cols);
  const HqqResult solved =
      SolveHqq(weight.view({view.rows, view.cols}), {format.bits, format.axis, solver});
  return MakeHqqMatrix(solved.codes, solved.scale, solved.zero, format, rows, cols);
}

// All that tests/golden/compress/record_hqq.py recorded; a larger record, made with as many threads
// as the test runs on, is compared when ATTNLAB_HQQ names it.
TEST(HqqRecorded, TensorsAndNumbersAreTheSameBits) {
  const char* other = std::getenv("ATTNLAB_HQQ");
  const auto loaded =
      LoadTensors(other != nullptr ? std::string(other)
                                   : ATTNLAB_SOURCE_DIR "/tests/golden/compress/hqq.safetensors");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const std::map<std::string, at::Tensor> record(loaded->begin(), loaded->end());
  const std::map<std::string, HqqSolver> solvers = {
      {"legacy", HqqSolver::kLegacy}, {"v2", HqqSolver::kV2}, {"slow", HqqSolver::kSlow}};
  int cases = 0, compared = 0;
  for (const auto& [name, dense] : record) {
    const std::vector<std::string> parts = absl::StrSplit(name, '.');
    if (parts.back() != "dense") continue;
    HqqFormat format;
    ASSERT_TRUE(absl::SimpleAtoi(parts[1], &format.bits) &&
                absl::SimpleAtoi(parts[2], &format.axis) &&
                absl::SimpleAtoi(parts[3], &format.group_size));
    const std::string prefix = name.substr(0, name.size() - 5);
    const auto matrix = Quantize(record.at("weight"), format, solvers.at(parts[0]));
    for (const auto& [suffix, tensor] : matrix->Tensors()) {
      ASSERT_EQ(record.count(prefix + suffix), 1u) << prefix << suffix;
      const at::Tensor& expected = record.at(prefix + suffix);
      EXPECT_EQ(tensor.scalar_type(), expected.scalar_type()) << prefix << suffix;
      EXPECT_TRUE(at::equal(tensor, expected)) << prefix << suffix;
      ++compared;
    }
    EXPECT_TRUE(at::equal(matrix->Dense(at::kFloat), dense)) << name;
    ++cases;
  }
  RecordProperty("cases", cases);
  EXPECT_GE(cases, 22);
  EXPECT_EQ(compared, cases * 19);
}

// One group, one step at a time, in float64.
struct Naive {
  std::vector<double> w;
  double s, z, max;

  double Code(double x) const { return std::clamp(std::nearbyint(x * s + z), 0.0, max); }
  double Error() const {
    double sum = 0;
    for (const double x : w) sum += std::abs(x - (Code(x) - z) / s);
    return sum / w.size();
  }
  void Step(double beta) {
    double sum = 0;
    for (const double x : w) {
      const double rest = x - (Code(x) - z) / s;
      const double shrunk = std::copysign(
          std::max(0.0, std::abs(rest) - std::pow(std::abs(rest), -0.3) / beta), rest);
      sum += Code(x) - (x - shrunk) * s;
    }
    z = sum / w.size();
  }
};

TEST(Hqq, ZerosAreThoseOfTheDefinitionInFloat64) {
  const at::Tensor weight = Normal({1, 64}, 3);
  for (const int64_t bits : {8, 4, 3, 2, 1}) {
    for (const HqqSolver solver : {HqqSolver::kLegacy, HqqSolver::kV2}) {
      Naive naive;
      for (int64_t i = 0; i < 64; ++i) naive.w.push_back(weight[0][i].item<double>());
      const auto [low, high] = std::minmax_element(naive.w.begin(), naive.w.end());
      naive.max = std::exp2(bits) - 1;
      naive.s = naive.max / (*high - *low);
      naive.z = -*low * naive.s;
      if (bits == 4) naive.z = std::nearbyint(naive.z);
      double best = INFINITY, best_zero = naive.z, beta = 10;
      for (int step = 0; step < 20; ++step) {
        const double error = naive.Error(), before = naive.z;
        naive.Step(beta);
        if (error >= best) {
          if (solver == HqqSolver::kV2) naive.z = best_zero;
          break;
        }
        best = error;
        best_zero = before;
        if (solver == HqqSolver::kV2) beta *= 1.01;
      }
      const HqqResult solved = SolveHqq(weight, {bits, 1, solver});
      // Near its end the search may stop a step apart: its error falls by less than float32 tells.
      EXPECT_NEAR(solved.zero.item<double>(), naive.z, 4e-3) << bits;
      EXPECT_NEAR(solved.scale.item<double>() * naive.s, 1, 1e-6);
    }
  }
}

// What the zeros move for: the mean error falls against the grid that the search began with.
TEST(Hqq, SearchLowersTheError) {
  at::Tensor weight = Normal({64, 64}, 4);
  weight.pow_(3);  // heavy tails
  for (const int64_t axis : {0, 1}) {
    for (const int64_t bits : {4, 3, 2}) {
      const at::Tensor low = weight.amin(axis, true);
      const at::Tensor step = (weight.amax(axis, true) - low) / ((1 << bits) - 1);
      const at::Tensor plain = ((weight - low) / step).round() * step + low;
      const double before = (plain - weight).abs().mean().item<double>();
      for (const HqqSolver solver : {HqqSolver::kLegacy, HqqSolver::kV2, HqqSolver::kSlow}) {
        const HqqResult solved = SolveHqq(weight, {bits, axis, solver});
        const at::Tensor numbers = (solved.codes.to(at::kFloat) - solved.zero) * solved.scale;
        EXPECT_LT((numbers - weight).abs().mean().item<double>(), before) << bits << " " << axis;
      }
    }
  }
}

// Slices that threads work on leave no trace: a tall matrix is its rows' groups.
TEST(Hqq, GroupsDoNotSeeEachOtherInTheSlowSearch) {
  const at::Tensor weight = Normal({4096, 64}, 5);
  const HqqResult all = SolveHqq(weight, {.bits = 3, .solver = HqqSolver::kSlow});
  for (const int64_t row : {0, 504, 512, 4088}) {
    const HqqResult some =
        SolveHqq(weight.narrow(0, row, 8), {.bits = 3, .solver = HqqSolver::kSlow});
    EXPECT_TRUE(at::equal(some.codes, all.codes.narrow(0, row, 8))) << row;
    EXPECT_TRUE(at::equal(some.zero, all.zero.narrow(0, row, 8))) << row;
  }
  // Sums in another order turn a code at a boundary now and then.
  const HqqResult columns =
      SolveHqq(weight.t().contiguous(), {.bits = 3, .axis = 0, .solver = HqqSolver::kSlow});
  const at::Tensor distance = (columns.zero.t() - all.zero).abs();
  EXPECT_GT(distance.lt(1e-3).to(at::kFloat).mean().item<double>(), 0.98);
  EXPECT_LT(distance.max().item<double>(), 0.2);
}

TEST(Hqq, ConstantGroupsComeBack) {
  at::Tensor weight = Normal({2, 64}, 6);
  weight[0].fill_(0.25f);
  weight[1].fill_(0);
  const auto matrix = Quantize(weight, {.bits = 8}, HqqSolver::kLegacy);
  EXPECT_LT((matrix->Dense(at::kFloat) - weight).abs().max().item<double>(), 1e-3);
}

TEST(HqqMethod, SettingsThatCannotBe) {
  const auto make = [](const std::string& text) {
    return MakeMethod("quantize", "hqq", Recipe::Parse(text, "recipe").value()).status();
  };
  EXPECT_TRUE(make("").ok());
  EXPECT_TRUE(make("bits = 3\ngroup_size = 0\naxis = 0\nsolver = \"slow\"").ok());
  EXPECT_THAT(make("bits = 7").message(), HasSubstr("bits = 7"));
  EXPECT_THAT(make("group_size = 60").message(), HasSubstr("multiple of 8"));
  EXPECT_THAT(make("group_size = 4611686018427387904").message(), HasSubstr("multiple of 8"));
  EXPECT_THAT(make("axis = 2").message(), HasSubstr("axis = 2"));
  EXPECT_THAT(make("solver = \"fast\"").message(), HasSubstr("legacy, v2, slow"));
  EXPECT_THAT(make("dtype = \"int8\"").message(), HasSubstr("float32, float16, bfloat16"));
}

TEST(HqqMethod, ModelsThatItDoesNotSuit) {
  ModelConfig config;
  const auto method =
      MakeMethod("quantize", "hqq", Recipe::Parse("group_size = 4096\nbits = 1", "r").value());
  ASSERT_TRUE(method.ok()) << method.status();
  config.hidden_size = 64;
  config.intermediate_size = 160;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  EXPECT_THAT((*method)->Check(config).message(), HasSubstr("self_attn.q_proj"));
}

}  // namespace
}  // namespace attnlab
