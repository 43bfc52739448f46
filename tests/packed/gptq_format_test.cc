// The layout of GPTQ against what GPTQModel packs and unpacks, its definition in float64, and files
// that lie.

#include "libs/packed/gptq_format.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "tests/packed/recorded.h"
#include "tests/packed/tensors_in_memory.h"

namespace attnlab {
namespace {

using testing::HasSubstr;

absl::StatusOr<std::shared_ptr<const StoredMatrix>> Read(TensorsInMemory& tensors, int64_t rows,
                                                         int64_t cols, const Json& config) {
  return ReadStoredMatrix(tensors, rows, cols, JsonRef(config, "config.json"));
}

struct Parts {
  at::Tensor codes, scales, zeros, group_index;
};

Parts Random(int64_t rows, int64_t cols, int64_t groups, int64_t bits, int64_t lowest_zero) {
  const auto generator = at::detail::createCPUGenerator(rows + bits);
  const auto integers = [&](int64_t low, int64_t high, at::IntArrayRef shape) {
    return at::randint(low, high, shape, generator, at::TensorOptions(at::kInt));
  };
  return {integers(0, 1 << bits, {rows, cols}),
          at::rand({rows, groups}, generator, at::TensorOptions(at::kFloat)) * 0.01 + 1e-3,
          integers(lowest_zero, 1 << bits, {rows, groups}), integers(0, groups, {cols})};
}

at::Tensor Definition(const Parts& parts) {
  const at::Tensor group = parts.group_index.to(at::kLong);
  return (parts.codes.to(at::kDouble) - parts.zeros.to(at::kDouble).index_select(1, group)) *
         parts.scales.to(at::kHalf).to(at::kDouble).index_select(1, group);
}

TEST(GptqFormat, TensorsAndNumbersAreThoseOfGptqModel) {
  const TensorMap recorded = ReadRecord("gptq", "ATTNLAB_GPTQ");
  for (const int64_t bits : {2, 3, 4, 8}) {
    const TensorMap expected = WithPrefix(recorded, absl::StrCat("gptq.", bits, "."));
    ASSERT_FALSE(expected.empty());
    const int64_t rows = expected.at("codes").size(0), cols = expected.at("codes").size(1);
    for (const bool symmetric : {false, true}) {
      const GptqFormat format = {.bits = bits, .symmetric = symmetric};
      const auto matrix = MakeGptqMatrix(expected.at("codes"), expected.at("scales_in"),
                                         expected.at("zeros_in"), expected.at("g_idx"), format)
                              .value();
      for (const auto& [suffix, tensor] : matrix->Tensors()) {
        const std::string name = symmetric && suffix == "qzeros" ? "qzeros_v1" : suffix;
        EXPECT_TRUE(at::equal(tensor, expected.at(name))) << bits << " bits: " << name;
      }
      EXPECT_TRUE(at::equal(matrix->Dense(at::kHalf), expected.at("dense"))) << bits << " bits";

      TensorsInMemory file;
      file.tensors = expected;
      if (symmetric) file.tensors["qzeros"] = expected.at("qzeros_v1");
      const auto read = Read(file, rows, cols, GptqConfig(format));
      ASSERT_TRUE(read.ok()) << read.status();
      EXPECT_TRUE(at::equal((*read)->Dense(at::kHalf), expected.at("dense"))) << bits << " bits";
    }
  }
}

TEST(GptqFormat, NumbersAreTheirDefinition) {
  struct Size {
    int64_t bits, rows, cols, groups;
  };
  // 8 x 8 is one word of 4 bits each way; groups need not be equal in size or in order.
  for (const Size& size : {Size{4, 8, 8, 1}, Size{4, 24, 40, 5}, Size{8, 4, 12, 3},
                           Size{2, 16, 48, 2}, Size{3, 32, 96, 7}, Size{3, 64, 32, 1}}) {
    for (const bool symmetric : {false, true}) {
      const Parts parts = Random(size.rows, size.cols, size.groups, size.bits, symmetric ? 1 : 0);
      const auto matrix = MakeGptqMatrix(parts.codes, parts.scales, parts.zeros, parts.group_index,
                                         {.bits = size.bits, .symmetric = symmetric})
                              .value();
      const at::Tensor exact = Definition(parts);
      EXPECT_TRUE(at::equal(matrix->Dense(at::kFloat), exact.to(at::kFloat))) << size.bits;
      EXPECT_TRUE(at::equal(matrix->To(at::kCPU)->Dense(at::kHalf), exact.to(at::kHalf)));
      EXPECT_EQ(matrix->Bytes(), size.rows * size.cols * size.bits / 8 +
                                     size.groups * size.rows * (16 + size.bits) / 8 +
                                     size.cols * 4);
    }
  }
}

TEST(GptqFormat, ConfigSaysWhatTransformersReads) {
  EXPECT_EQ(GptqConfig({.bits = 3, .group_size = 0, .symmetric = true, .act_order = true}).Dump(),
            R"({"quant_method":"gptq","bits":3,"group_size":-1,"desc_act":true,"sym":true,)"
            R"("checkpoint_format":"gptq"})");
  EXPECT_THAT(GptqConfig({.bits = 4, .group_size = 128, .symmetric = false}).Dump(),
              HasSubstr(R"("group_size":128,"desc_act":false,"sym":false,"checkpoint_format":)"
                        R"("gptq_v2")"));
}

TEST(GptqFormat, SizesThatFillNoWordAreErrors) {
  EXPECT_TRUE(CheckGptqFormat(4, 8, 16).ok());
  EXPECT_TRUE(CheckGptqFormat(3, 32, 96).ok());
  for (const int64_t bits : {0, 1, 5, 7, 16, -4}) {
    EXPECT_THAT(CheckGptqFormat(bits, 64, 64).message(), HasSubstr("bits")) << bits;
  }
  EXPECT_THAT(CheckGptqFormat(4, 8, 12).message(), HasSubstr("8 x 12"));
  EXPECT_THAT(CheckGptqFormat(3, 16, 32).message(), HasSubstr("16 x 32"));
}

TEST(GptqFormat, ScalesBeyondFloat16AreErrors) {
  Parts parts = Random(16, 32, 2, 4, 1);
  const auto make = [&](float scale) {
    parts.scales[3][1] = scale;
    return MakeGptqMatrix(parts.codes, parts.scales, parts.zeros, parts.group_index, {.bits = 4});
  };
  EXPECT_TRUE(make(65504).ok());
  for (const float scale : {65520.0f, 7e4f, -7e4f, 3e38f, INFINITY, NAN}) {
    EXPECT_EQ(make(scale).status().code(), absl::StatusCode::kInvalidArgument) << scale;
  }
  EXPECT_THAT(make(7e4f).status().message(),
              testing::AllOf(HasSubstr("70000"), HasSubstr("float16")));
}

TEST(GptqFormat, FilesThatLieAreErrors) {
  const Parts parts = Random(16, 32, 2, 4, 1);
  const auto matrix =
      MakeGptqMatrix(parts.codes, parts.scales, parts.zeros, parts.group_index, {.bits = 4})
          .value();
  const auto reject = [&](const std::string& suffix, const at::Tensor& tensor,
                          const std::string& message) {
    TensorsInMemory file(*matrix);
    if (tensor.defined()) {
      file.tensors[suffix] = tensor;
    } else {
      file.tensors.erase(suffix);
    }
    const auto read = Read(file, 16, 32, GptqConfig({.bits = 4}));
    ASSERT_FALSE(read.ok()) << suffix;
    EXPECT_THAT(read.status().message(), HasSubstr(message)) << suffix;
    EXPECT_THAT(read.status().message(), HasSubstr("model.layers.0.mlp.down_proj")) << suffix;
  };
  reject("qweight", at::full({4, 8}, 0, at::kInt), "expected Int [4, 16]");
  reject("qweight", at::full({4, 16}, 0, at::kLong), "expected Int [4, 16]");
  reject("qweight", at::full({0}, 0, at::kInt), "expected Int [4, 16]");
  reject("qzeros", at::full({3, 2}, 0, at::kInt), "expected Int [2, 2]");
  reject("scales", at::full({2, 15}, 1.0f, at::kHalf), "scales");
  reject("scales", at::full({0, 16}, 1.0f, at::kHalf), "scales");
  reject("scales", at::full({2, 16}, 1, at::kInt), "floating");
  reject("scales", at::full({2, 16}, std::nan(""), at::kHalf), "not finite");
  reject("scales", at::full({2, 16}, 7e4f, at::kFloat), "not finite in float16");
  reject("g_idx", at::full({32}, 2, at::kInt), "g_idx");
  reject("g_idx", at::full({32}, -1, at::kInt), "g_idx");
  reject("g_idx", at::full({31}, 0, at::kInt), "expected Int [32]");
  for (const char* suffix : {"qweight", "qzeros", "scales", "g_idx"}) reject(suffix, {}, suffix);
}

TEST(GptqFormat, ConfigsThatLieAreErrors) {
  const Parts parts = Random(16, 32, 2, 4, 1);
  const auto matrix =
      MakeGptqMatrix(parts.codes, parts.scales, parts.zeros, parts.group_index, {.bits = 4})
          .value();
  const auto reject = [&](const char* key, Json value, const std::string& message) {
    TensorsInMemory file(*matrix);
    Json config = GptqConfig({.bits = 4});
    config.Set(key, std::move(value));
    EXPECT_THAT(Read(file, 16, 32, config).status().message(), HasSubstr(message)) << key;
  };
  reject("bits", 7, "bits = 7");
  reject("bits", "4", "bits");
  reject("bits", 8, "expected Int [8, 16]");
  reject("bits", int64_t{1} << 40, "bits");
  reject("checkpoint_format", "marlin", "marlin");
  reject("checkpoint_format", 2, "checkpoint_format");
  reject("quant_method", "gguf", "is not one of");
  reject("quant_method", Json(), "quant_method");
}

}  // namespace
}  // namespace attnlab
