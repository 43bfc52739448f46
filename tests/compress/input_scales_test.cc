// AWQ and SmoothQuant on a whole model against what their programs, as published, make of the same
// weights and inputs (tests/golden/compress/record_input_scales.py).

#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "libs/compress/compress.h"
#include "libs/compress/method_list.h"
#include "tests/packed/recorded.h"

namespace attnlab {
namespace {

class InputScales : public ::testing::Test {
 protected:
  InputScales() : record_(ReadRecord("input_scales", "ATTNLAB_INPUT_SCALES")) {}

  const at::Tensor& Get(const std::string& name) const { return record_.at(name); }
  bool Has(const std::string& name) const { return record_.count(name) > 0; }

  // The recorded model as it was.
  Transformer Model() const {
    const at::Tensor& sizes = Get("config");
    const auto size = [&](int64_t i) { return sizes[i].item<int64_t>(); };
    ModelConfig config;
    config.vocab_size = size(0);
    config.hidden_size = size(1);
    config.num_hidden_layers = size(2);
    config.num_attention_heads = size(3);
    config.intermediate_size = size(4);
    config.rms_norm_eps = Get("numbers")[0].item<double>();
    config.rope_theta = Get("numbers")[1].item<double>();
    Transformer model = Transformer::Create(config, 1).value();
    for (const auto& [name, tensor] : model.NamedParameters()) {
      tensor.copy_(Get("weights." + name));
    }
    return model;
  }

  Transformer Compressed(const std::string& method, const std::string& settings) const {
    Transformer model = Model();
    const auto made = MakeMethod("quantize", method, Recipe::Parse(settings, "test").value());
    EXPECT_TRUE(made.ok()) << made.status();
    const auto report = CompressModel(model, **made, Get("tokens"), {});
    EXPECT_TRUE(report.ok()) << report.status();
    return model;
  }

  // The factors behind each norm are the gains before over the gains after.
  void ExpectFactors(const std::string& method, const Transformer& model) const {
    for (const auto& [name, tensor] : model.NamedParameters()) {
      const size_t end = name.find("_layernorm.weight");
      if (end == std::string::npos) continue;
      const std::string layer = name.substr(13, name.find('.', 13) - 13);  // model.layers.LAYER.
      const bool attention = name.find("input_layernorm") != std::string::npos;
      const at::Tensor expected =
          Get(absl::StrCat(method, ".", layer, attention ? ".attention" : ".mlp"));
      const at::Tensor found = Get("weights." + name) / tensor;
      EXPECT_LE(((found - expected).abs() / expected).max().item<double>(), 2e-6)
          << method << " " << name;
    }
  }

  // The share of a matrix's numbers that stand for the recorded codes.
  double ShareOfCodes(const std::string& method, const Transformer& model, int64_t layer,
                      MatrixSlot slot) const {
    const std::string key = absl::StrCat(method, ".", MatrixName(layer, slot));
    at::Tensor codes = Get(key + ".codes").to(at::kFloat), scales = Get(key + ".scales");
    if (scales.dim() == 1) scales = scales.unsqueeze(1);
    const int64_t group = codes.size(1) / scales.size(1);
    if (Has(key + ".zeros")) {
      codes = codes - Get(key + ".zeros").to(at::kFloat).repeat_interleave(group, 1);
    }
    scales = scales.repeat_interleave(group, 1);
    const at::Tensor apart = model.Stored(layer, slot)->Dense(at::kFloat) / scales - codes;
    return apart.abs().lt(0.25).to(at::kDouble).mean().item<double>();
  }

  void ExpectCodes(const std::string& method, const Transformer& model, double share) {
    double least = 1, sum = 0;
    const int64_t layers = model.config().num_hidden_layers;
    for (int64_t layer = 0; layer < layers; ++layer) {
      for (const MatrixSlot slot : kMatrixSlots) {
        const double found = ShareOfCodes(method, model, layer, slot);
        EXPECT_GE(found, share) << method << " " << MatrixName(layer, slot);
        least = std::min(least, found);
        sum += found;
      }
    }
    RecordProperty(method, absl::StrCat("codes: least share ", least, ", mean ",
                                        sum / static_cast<double>(layers * kMatrixSlots.size())));
  }

 private:
  const c10::NoGradGuard no_grad_;
  const TensorMap record_;
};

// A group that is clipped at both ends has its zero at 7.5 or 3.5 codes, where the last digit of
// its range decides, and with it which clipping is best: codes of such a group differ as a whole.
TEST_F(InputScales, AwqFindsThePublishedFactorsAndCodes) {
  const std::string all = absl::StrCat("group_size = 32\nsearch_tokens = ", Get("tokens").numel(),
                                       "\nsearch_sequences = ", Get("tokens").size(0));
  for (const int bits : {4, 3}) {
    const std::string method = absl::StrCat("awq", bits);
    const Transformer model = Compressed("awq", absl::StrCat(all, "\nbits = ", bits));
    ExpectFactors(method, model);
    ExpectCodes(method, model, 0.97);
    for (int64_t layer = 0; layer < model.config().num_hidden_layers; ++layer) {
      EXPECT_GE(ShareOfCodes(method, model, layer, MatrixSlot::kQ), 0.9999);  // not clipped
      EXPECT_GE(ShareOfCodes(method, model, layer, MatrixSlot::kK), 0.9999);
    }
  }
}

TEST_F(InputScales, SmoothQuantFindsThePublishedFactorsCodesAndLogits) {
  const Transformer model = Compressed("smoothquant", "alpha = 0.5");
  ExpectFactors("smoothquant", model);
  ExpectCodes("smoothquant", model, 0.999);
  const at::Tensor expected = Get("smoothquant.logits");
  const at::Tensor logits = model.Logits(Get("tokens").narrow(0, 0, 2));
  const double distance = ((logits - expected).norm() / expected.norm()).item<double>();
  RecordProperty("logits", absl::StrCat(distance));
  EXPECT_LE(distance, 2e-3);  // an activation apart by one code moves what is behind it
}

}  // namespace
}  // namespace attnlab
