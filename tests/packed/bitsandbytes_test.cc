// NF4, FP4 and LLM.int8() against what bitsandbytes recorded, a float64 reference, the published
// errors, and files that lie.

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "libs/model/tensor_io.h"
#include "libs/packed/bitsandbytes_format.h"
#include "libs/packed/format_list.h"
#include "libs/packed/int_product.h"
#include "tests/packed/tensors_in_memory.h"

namespace attnlab {
namespace {

using testing::HasSubstr;

at::Tensor Normal(at::IntArrayRef shape, uint64_t seed) {
  return at::randn(shape, at::detail::createCPUGenerator(seed));
}

std::string Text(const at::Tensor& bytes) {
  return std::string(reinterpret_cast<const char*>(bytes.const_data_ptr<uint8_t>()), bytes.numel());
}

absl::StatusOr<std::shared_ptr<const StoredMatrix>> Read(TensorsInMemory& tensors, int64_t rows,
                                                         int64_t cols, const Json& config) {
  return ReadBitsandbytesMatrix(tensors, rows, cols, JsonRef(config, "config.json"));
}

// All that tests/golden/compress/record_bitsandbytes.py recorded; a larger record is compared when
// ATTNLAB_BITSANDBYTES names it.
class Recorded : public testing::Test {
 protected:
  void SetUp() override {
    const char* other = std::getenv("ATTNLAB_BITSANDBYTES");
    const std::string path = other != nullptr ? other
                                              : ATTNLAB_SOURCE_DIR
                                 "/tests/golden/compress/bitsandbytes.safetensors";
    const auto loaded = LoadTensors(path);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    tensors_.insert(loaded->begin(), loaded->end());
    weight_ = tensors_.at("weight");
  }

  // The tensors whose names begin with `prefix`, without it.
  std::map<std::string, at::Tensor> Group(const std::string& prefix) const {
    std::map<std::string, at::Tensor> group;
    for (const auto& [name, tensor] : tensors_) {
      if (name.rfind(prefix, 0) == 0) group[name.substr(prefix.size())] = tensor;
    }
    return group;
  }

  std::map<std::string, at::Tensor> tensors_;
  at::Tensor weight_;
};

TEST_F(Recorded, FourBitTensorsAndNumbersAreTheSameBits) {
  int cases = 0;
  for (const FourBitType type : {FourBitType::kNf4, FourBitType::kFp4}) {
    for (int64_t block = 32; block <= 4096; block *= 2) {
      for (const bool nested : {false, true}) {
        const std::string prefix = absl::StrCat(type == FourBitType::kNf4 ? "nf4." : "fp4.", block,
                                                nested ? ".1." : ".0.");
        const auto expected = Group(prefix);
        if (expected.empty()) continue;
        ++cases;
        const FourBitOptions options = {type, block, nested};
        const auto matrix = QuantizeFourBit(weight_, options);
        for (const auto& [suffix, tensor] : matrix->Tensors()) {
          ASSERT_EQ(expected.count(suffix), 1u) << prefix << suffix;
          if (suffix.find("quant_state") == std::string::npos) {
            EXPECT_TRUE(at::equal(tensor, expected.at(suffix))) << prefix << suffix;
          }
        }
        const at::Tensor numbers = matrix->Dense(at::kFloat);
        const bool whole = expected.count("dense") > 0;
        if (whole) {
          EXPECT_TRUE(at::equal(numbers, expected.at("dense"))) << prefix;
        }

        TensorsInMemory file;
        file.tensors = expected;
        const auto read = Read(file, weight_.size(0), weight_.size(1), FourBitConfig(options));
        ASSERT_TRUE(read.ok()) << prefix << read.status();
        EXPECT_TRUE(at::equal((*read)->Dense(at::kFloat), numbers)) << prefix;
        EXPECT_EQ(file.taken.size() + whole, expected.size()) << prefix;
      }
    }
  }
  EXPECT_GE(cases, 8);
}

TEST_F(Recorded, Int8TensorsAndNumbersAreTheSameBits) {
  const auto expected = Group("int8.");
  const auto matrix = QuantizeLlmInt8(weight_, 6.0);
  EXPECT_TRUE(at::equal(matrix->Tensors()[0].second, expected.at("weight")));
  EXPECT_TRUE(at::equal(matrix->Tensors()[1].second, expected.at("SCB")));
  EXPECT_TRUE(at::equal(matrix->Dense(at::kFloat), expected.at("dense")));
}

TEST_F(Recorded, Int8ProductsAreTheSame) {
  const at::Tensor x = tensors_.at("x");
  for (const double threshold : {0.0, 6.0}) {
    const auto matrix = QuantizeLlmInt8(weight_, threshold);
    for (const char* which : {"all", "one"}) {
      const std::string name = absl::StrCat("int8.out.", threshold, ".", which);
      const at::Tensor expected = tensors_.at(name);
      const at::Tensor out = matrix->Product(std::string(which) == "all" ? x : x.slice(0, 0, 1));
      // Exact but for the order of sums in the product of the outlier columns.
      EXPECT_LT((out - expected).abs().max().item<double>(), threshold > 0 ? 2e-6 : 1e-30) << name;
    }
  }
}

// Mean |x - x^| and mean |x - x^| / |x| on N(0, 1), from bitsandbytes' own test: 200 draws of 1024
// x 1024, standard deviation about 1e-4 a draw of the absolute and 1e-3 of the relative one.
TEST(FourBit, ErrorsAreThePublishedOnes) {
  struct Row {
    int64_t block;
    double nf4_abs, nf4_rel, fp4_abs, fp4_rel;
  };
  const at::Tensor x = Normal({1024, 1024}, 7);
  for (const Row& row :
       {Row{32, .067746, .189726, .088925, .242443}, Row{64, .072798, .203339, .096543, .260125},
        Row{128, .076831, .215237, .102969, .275817}, Row{256, .080337, .226105, .108684, .289831},
        Row{1024, .086610, .245370, .119333, .315000},
        Row{4096, .092547, .262473, .129536, .337169}}) {
    for (const FourBitType type : {FourBitType::kNf4, FourBitType::kFp4}) {
      const bool nf4 = type == FourBitType::kNf4;
      const at::Tensor error =
          (QuantizeFourBit(x, {type, row.block, false})->Dense(at::kFloat) - x).abs();
      EXPECT_NEAR(error.mean().item<double>(), nf4 ? row.nf4_abs : row.fp4_abs, 4e-4)
          << row.block << (nf4 ? " nf4" : " fp4");
      EXPECT_NEAR((error / (x.abs() + 1e-8)).mean().item<double>(), nf4 ? row.nf4_rel : row.fp4_rel,
                  2e-3)
          << row.block << (nf4 ? " nf4" : " fp4");
    }
  }
}

TEST(FourBit, DoubleQuantizationCostsLittle) {
  const at::Tensor x = Normal({512, 512}, 8);
  const auto error = [&](bool nested) {
    return (QuantizeFourBit(x, {FourBitType::kNf4, 64, nested})->Dense(at::kFloat) - x)
        .abs()
        .mean()
        .item<double>();
  };
  EXPECT_NEAR(error(true), error(false), 5e-4);
  const int64_t fixed = 16 * 4 + 256 * 4;  // the two maps
  const auto matrix = QuantizeFourBit(x, {FourBitType::kNf4, 64, true});
  EXPECT_NEAR(8.0 * (matrix->Bytes() - fixed - 170) / x.numel(), 4.127, 0.001);
}

// A value a little on either side of each midpoint takes the value of that side.
TEST(FourBit, ThresholdsLieInTheMiddle) {
  for (const FourBitType type : {FourBitType::kNf4, FourBitType::kFp4}) {
    at::Tensor values = std::get<0>(FourBitValues(type).sort());
    for (int64_t i = 0; i + 1 < 16; ++i) {
      const double low = values[i].item<float>(), high = values[i + 1].item<float>();
      if (low == high) continue;
      at::Tensor x = at::full({1, 32}, 1.0f);
      const double middle = (low + high) / 2, step = (high - low) * 1e-3;
      x[0][0] = middle - step;
      x[0][1] = middle + step;
      const at::Tensor back = QuantizeFourBit(x, {type, 32, false})->Dense(at::kFloat);
      EXPECT_FLOAT_EQ(back[0][0].item<float>(), low);
      EXPECT_FLOAT_EQ(back[0][1].item<float>(), high);
    }
  }
}

TEST(FourBit, FirstNumberIsTheHighNibble) {
  at::Tensor x = at::full({1, 32}, -1.0f);
  x[0][1] = 1.0f;
  const auto matrix = QuantizeFourBit(x, {FourBitType::kNf4, 32, false});
  EXPECT_EQ(matrix->Tensors()[0].second[0][0].item<int>(), 0x0f);
}

TEST(FourBit, OddCountsAndPartialBlocksComeBack) {
  const at::Tensor x = Normal({5, 7}, 1);
  const FourBitOptions options = {FourBitType::kNf4, 32, true};
  const auto matrix = QuantizeFourBit(x, options);
  EXPECT_LT((matrix->Dense(at::kFloat) - x).abs().max().item<double>(), 0.6);
  TensorsInMemory file(*matrix);
  const auto read = Read(file, 5, 7, FourBitConfig(options));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_TRUE(at::equal((*read)->Dense(at::kFloat), matrix->Dense(at::kFloat)));
}

TEST(FourBit, StateSaysWhatTheMatrixIs) {
  const auto matrix = QuantizeFourBit(Normal({4, 64}, 1), {FourBitType::kFp4, 64, false});
  const auto [name, bytes] = matrix->Tensors().back();
  EXPECT_EQ(name, "weight.quant_state.bitsandbytes__fp4");
  EXPECT_EQ(Text(bytes), R"({"quant_type":"fp4","blocksize":64,"dtype":"float32","shape":[4,64]})");
}

TEST(FourBit, BlockSizesAreChecked) {
  EXPECT_TRUE(Validate(FourBitOptions{.block_size = 4096}).ok());
  for (const int64_t size : {0, 16, 48, 8192, -64}) {
    EXPECT_THAT(Validate(FourBitOptions{.block_size = size}).message(), HasSubstr("block_size"));
  }
}

TEST(FourBit, FilesThatLieAreErrors) {
  const FourBitOptions options = {FourBitType::kNf4, 64, true};
  const auto matrix = QuantizeFourBit(Normal({8, 64}, 1), options);
  const std::string state = "weight.quant_state.bitsandbytes__nf4";
  const auto reject = [&](const std::string& suffix, const at::Tensor& tensor,
                          const std::string& message) {
    TensorsInMemory file(*matrix);
    file.tensors[suffix] = tensor;
    const auto read = Read(file, 8, 64, FourBitConfig(options));
    ASSERT_FALSE(read.ok()) << suffix;
    EXPECT_THAT(read.status().message(), HasSubstr(message)) << suffix;
  };
  const auto text = [](std::string value) {
    return at::from_blob(value.data(), {static_cast<int64_t>(value.size())}, at::kByte).clone();
  };
  reject("weight", at::full({255, 1}, 0, at::kByte), "expected Byte [256, 1]");
  reject("weight.absmax", at::full({8}, 0, at::kFloat), "expected Byte [8]");
  reject("weight.nested_absmax", at::full({1}, std::nan(""), at::kFloat), "not finite");
  reject("weight.nested_quant_map", at::full({255}, 0, at::kFloat), "expected Float [256]");
  reject("weight.quant_map", FourBitValues(FourBitType::kFp4), "values of nf4");
  reject(state, text("{"), "quant_state");
  reject(state, text("{}"), "blocksize");
  reject(state, at::full({4}, 0, at::kFloat), "row of bytes");
  const std::string rest = R"(,"dtype":"float32","shape":[8,64],"nested_blocksize":256,)";
  reject(state, text(R"({"blocksize":0)" + rest + R"("nested_offset":0})"), "block_size = 0");
  reject(state, text(R"({"blocksize":64,"dtype":"float32","shape":[8,65]})"), "expected [8, 64]");
  reject(state, text(R"({"blocksize":64,"dtype":"int8","shape":[8,64]})"), "float16 or bfloat16");
  reject(state, text(R"({"blocksize":64)" + rest + R"("nested_offset":"x"})"), "nested_offset");
}

TEST(IntegerProduct, BothWaysAreExact) {
  for (const int64_t k : {1, 8, 500, 1024, 2600}) {
    const at::Tensor a = at::randint(-127, 128, {9, k}, at::kChar);
    at::Tensor b = at::randint(-127, 128, {16, k}, at::kChar);
    b[0].fill_(127);
    const at::Tensor exact = a.to(at::kDouble).matmul(b.to(at::kDouble).t()).to(at::kInt);
    EXPECT_TRUE(at::equal(IntegerProduct(a, b), exact)) << k;
    EXPECT_TRUE(at::equal(IntegerProductByFloats(a, b), exact)) << k;
  }
  const at::Tensor extreme = at::full({2, 4096}, -127, at::kChar);
  EXPECT_EQ(IntegerProduct(extreme, extreme)[0][1].item<int>(), 4096 * 127 * 127);
  EXPECT_EQ(IntegerProductByFloats(extreme, extreme)[0][1].item<int>(), 4096 * 127 * 127);
}

// The product against its definition, element by element in float64.
TEST(LlmInt8, ProductIsItsDefinition) {
  const at::Tensor weight = Normal({24, 40}, 3) * 0.1;
  at::Tensor x = Normal({2, 3, 40}, 4);
  x.select(2, 5).add_(9);
  for (const double threshold : {0.0, 6.0}) {
    const auto matrix = QuantizeLlmInt8(weight, threshold);
    const at::Tensor codes = matrix->Tensors()[0].second.to(at::kDouble);
    const at::Tensor scale = matrix->Tensors()[1].second.to(at::kDouble);
    const at::Tensor out = matrix->Product(x);
    ASSERT_EQ(out.sizes(), at::IntArrayRef({2, 3, 24}));
    const at::Tensor tokens = x.view({6, 40}), results = out.view({6, 24});
    for (int64_t t = 0; t < 6; ++t) {
      const at::Tensor token = tokens[t].to(at::kHalf).to(at::kDouble);
      double top = 0;
      const auto outlier_column = [&](int64_t j) {
        return threshold > 0 &&
               tokens.select(1, j).to(at::kHalf).abs().ge(threshold).any().item<bool>();
      };
      for (int64_t j = 0; j < 40; ++j) {
        const double value = std::abs(token[j].item<double>());
        if (threshold == 0 || value < threshold) top = std::max(top, value);
      }
      for (int64_t o = 0; o < 24; ++o) {
        double sum = 0, kept = 0;
        for (int64_t j = 0; j < 40; ++j) {
          const double w = codes[o][j].item<double>();
          if (outlier_column(j)) {
            kept += tokens[t][j].item<double>() * w * scale[o].item<double>() / 127;
          } else {
            const float rounded =
                static_cast<float>(token[j].item<double>()) * (127.0f / static_cast<float>(top));
            sum += std::nearbyint(rounded) * w;
          }
        }
        // bitsandbytes' rounding of 1 / 127^2 is 2e-5 too large.
        const double expected = sum * top * scale[o].item<double>() * 6.200124e-05 + kept;
        EXPECT_NEAR(results[t][o].item<double>(), expected, 2e-6 * (1 + std::abs(expected)));
      }
    }
  }
}

TEST(LlmInt8, OutliersKeepTheirPrecision) {
  const at::Tensor weight = Normal({64, 128}, 5);
  at::Tensor x = Normal({50, 128}, 6);
  x.select(1, 9).mul_(100);
  const at::Tensor exact = x.matmul(weight.t());
  const auto error = [&](double threshold) {
    return (QuantizeLlmInt8(weight, threshold)->Product(x) - exact).square().mean().item<double>();
  };
  EXPECT_LT(error(6.0) * 10, error(0.0));
}

TEST(LlmInt8, RoundTripAndFilesThatLie) {
  const auto matrix = QuantizeLlmInt8(Normal({6, 16}, 1), 6.0);
  TensorsInMemory file(*matrix);
  const auto read = Read(file, 6, 16, LlmInt8Config(6.0));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_TRUE(at::equal((*read)->Dense(at::kFloat), matrix->Dense(at::kFloat)));
  EXPECT_EQ(file.taken.size(), 3u);

  TensorsInMemory shape(*matrix);
  EXPECT_THAT(Read(shape, 6, 17, LlmInt8Config(6.0)).status().message(), HasSubstr("[6, 17]"));
  TensorsInMemory scale(*matrix);
  scale.tensors["SCB"][2] = INFINITY;
  EXPECT_THAT(Read(scale, 6, 16, LlmInt8Config(6.0)).status().message(), HasSubstr("not finite"));
  TensorsInMemory layout(*matrix);
  layout.tensors["weight_format"].fill_(2);
  EXPECT_THAT(Read(layout, 6, 16, LlmInt8Config(6.0)).status().message(), HasSubstr("by row"));
  Json neither = LlmInt8Config(6.0);
  neither.Set("load_in_8bit", false);
  EXPECT_THAT(Read(layout, 6, 16, neither).status().message(), HasSubstr("load_in_4bit"));
}

}  // namespace
}  // namespace attnlab
