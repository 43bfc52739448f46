// Round to nearest against the grids of GPTQ's program (tests/golden/compress/record_rtn.py), a
// float64 reference, and the method on its storage.

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "libs/compress/grid.h"
#include "libs/compress/method_list.h"
#include "tests/packed/recorded.h"

namespace attnlab {
namespace {

using ::testing::HasSubstr;

at::Tensor Normal(at::IntArrayRef shape, uint64_t seed) {
  return at::randn(shape, at::detail::createCPUGenerator(seed));
}

absl::StatusOr<std::unique_ptr<Method>> Make(const std::string& settings) {
  return MakeMethod("quantize", "rtn", Recipe::Parse(settings, "test").value());
}

TEST(Grid, CodesAndGridsAreThosePublished) {
  const TensorMap recorded = ReadRecord("rtn", "ATTNLAB_RTN");
  const at::Tensor weight = recorded.at("weight");
  int cases = 0;
  for (const int64_t bits : {2, 3, 4, 8}) {
    for (const bool symmetric : {false, true}) {
      for (const bool grouped : {false, true}) {
        for (const bool mse : {false, true}) {
          const std::string name = absl::StrCat(bits, ".", symmetric, ".", grouped, ".", mse, ".");
          const TensorMap expected = WithPrefix(recorded, name);
          const int64_t groups = expected.at("scale").size(0);
          const at::Tensor values = weight.view({groups, -1});
          const Grid grid = FitGrid(values, {bits, symmetric, mse});
          const at::Tensor codes = Codes(values, grid);
          EXPECT_TRUE(at::equal(grid.scale, expected.at("scale").squeeze(1))) << name;
          EXPECT_TRUE(at::equal(grid.zero.to(at::kByte), expected.at("zero").squeeze(1))) << name;
          EXPECT_TRUE(at::equal(codes.to(at::kByte), expected.at("codes").view_as(codes))) << name;
          if (expected.count("numbers") > 0) {
            EXPECT_TRUE(at::equal(Values(codes, grid), expected.at("numbers").view_as(codes)))
                << name;
          }
          ++cases;
        }
      }
    }
  }
  EXPECT_EQ(cases, 32);
}

// No grid value of the row is nearer than the one chosen, and zero itself is one of them.
TEST(Grid, ChoosesTheNearestValue) {
  const at::Tensor values = Normal({12, 40}, 1);
  for (const int64_t bits : {1, 2, 3, 4, 5, 6, 8}) {
    for (const bool symmetric : {false, true}) {
      const Grid grid = FitGrid(values, {.bits = bits, .symmetric = symmetric});
      const at::Tensor chosen = Values(Codes(values, grid), grid);
      for (int64_t row = 0; row < values.size(0); ++row) {
        const double scale = grid.scale[row].item<double>(), zero = grid.zero[row].item<double>();
        EXPECT_GE(zero, 0);
        EXPECT_LE(zero, (1 << bits) - 1);
        for (int64_t i = 0; i < values.size(1); ++i) {
          const double x = values[row][i].item<double>();
          double nearest = INFINITY;
          for (int code = 0; code < 1 << bits; ++code) {
            nearest = std::min(nearest, std::abs(x - scale * (code - zero)));
          }
          EXPECT_NEAR(std::abs(x - chosen[row][i].item<double>()), nearest, 1e-6);
        }
      }
    }
  }
}

TEST(Grid, ZerosAndOneSidedRows) {
  at::Tensor values = at::zeros({3, 8});
  values[1].copy_(Normal({8}, 2).abs() + 1);
  values[2].copy_(-Normal({8}, 3).abs() - 1);
  const Grid grid = FitGrid(values, {.bits = 4});
  const at::Tensor back = Values(Codes(values, grid), grid);
  EXPECT_TRUE(back[0].eq(0).all().item<bool>());
  EXPECT_EQ(grid.zero[1].item<double>(), 0);   // the smallest value is 0
  EXPECT_EQ(grid.zero[2].item<double>(), 15);  // the largest is
  const double step = std::max(grid.scale[1].item<double>(), grid.scale[2].item<double>());
  EXPECT_LE((back - values).abs().max().item<double>(), step / 2 + 1e-6);
}

TEST(Grid, ShrinkingNeverCosts) {
  const at::Tensor values = Normal({30, 64}, 4).pow(3);
  for (const bool symmetric : {false, true}) {
    const auto error = [&](bool mse) {
      const Grid grid = FitGrid(values, {.bits = 3, .symmetric = symmetric, .mse = mse});
      return (Values(Codes(values, grid), grid) - values).abs().pow(2.4).sum(1);
    };
    EXPECT_TRUE(error(true).le(error(false)).all().item<bool>());
    EXPECT_LT(error(true).sum().item<double>(), 0.95 * error(false).sum().item<double>());
  }
}

// What the stored matrix stands for: the codes times the scale that float16 can hold.
TEST(Rtn, StoresTheGridOfEachGroup) {
  at::Tensor weight = Normal({32, 96}, 5) * 0.02;
  weight.slice(1, 0, 32)[3].abs_();  // a zero of 0
  for (const int64_t bits : {2, 3, 4, 8}) {
    for (const int64_t group : {0, 32}) {
      for (const bool symmetric : {false, true}) {
        const auto method = Make(absl::StrCat("bits = ", bits, "\ngroup_size = ", group,
                                              "\nsymmetric = ", symmetric ? "true" : "false"));
        ASSERT_TRUE(method.ok()) << method.status();
        MatrixWork work;
        work.name = "model.layers.0.mlp.up_proj";
        work.weight = weight.clone();
        const auto matrix = (*method)->Compress(work);
        ASSERT_TRUE(matrix.ok()) << matrix.status();
        const at::Tensor values = weight.view({-1, group == 0 ? 96 : group});
        Grid grid = FitGrid(values, {.bits = bits, .symmetric = symmetric});
        const at::Tensor codes = Codes(values, grid);
        grid.scale = grid.scale.to(at::kHalf).to(at::kFloat);
        EXPECT_TRUE(
            at::equal(matrix->stored->Dense(at::kFloat), Values(codes, grid).view_as(weight)))
            << bits << " bits, groups of " << group << (symmetric ? ", symmetric" : "");
      }
    }
  }
}

TEST(Rtn, SettingsAreChecked) {
  for (const auto& [settings, message] :
       std::map<std::string, std::string>{{"bits = 7", "bits = 7"},
                                          {"bits = 0", "bits = 0"},
                                          {"bits = \"four\"", "bits"},
                                          {"group_size = -1", "group_size = -1"},
                                          {"group_sise = 32", "group_size"},
                                          {"symmetric = 1", "symmetric"}}) {
    EXPECT_THAT(Make(settings).status().message(), HasSubstr(message)) << settings;
  }
  EXPECT_TRUE(Make("bits = 3\ngroup_size = 32\nsymmetric = true\nmse = true").ok());
}

TEST(Rtn, ModelsThatDoNotSuitAreNamed) {
  ModelConfig config;
  config.hidden_size = 64;
  config.intermediate_size = 176;
  config.num_hidden_layers = 1;
  config.num_attention_heads = 4;
  EXPECT_TRUE((*Make("group_size = 16"))->Check(config).ok());
  EXPECT_THAT((*Make("group_size = 32"))->Check(config).message(),
              AllOf(HasSubstr("group_size = 32"), HasSubstr("176"), HasSubstr("down_proj")));
  EXPECT_THAT((*Make("bits = 3"))->Check(config).message(),
              AllOf(HasSubstr("3-bit"), HasSubstr("gate_proj")));
}

}  // namespace
}  // namespace attnlab
