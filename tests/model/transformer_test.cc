// The whole decoder: against transformers' Llama, against finite differences, and against itself in
// other ways of running it.

#include "libs/model/transformer.h"

#include <ATen/Context.h>
#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "libs/core/rng.h"
#include "libs/model/model_io.h"
#include "libs/model/tensor_io.h"

namespace attnlab {
namespace {

ModelConfig Tiny(const std::string& weighting = "softmax") {
  ModelConfig config;
  config.vocab_size = 19;
  config.hidden_size = 16;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  config.head_dim = 6;
  config.intermediate_size = 20;
  config.max_position_embeddings = 32;
  config.initializer_range = 0.3;
  config.attention.weighting = weighting;
  return config;
}

Transformer Make(const ModelConfig& config, at::ScalarType dtype = at::kFloat, uint64_t seed = 3) {
  return Transformer::Create(config, seed, at::kCPU, dtype).value();
}

at::Tensor Tokens(at::IntArrayRef shape, int64_t vocab = 19) {
  at::Tensor tokens = at::empty(shape, at::kLong);
  Rng rng(8, "tokens");
  for (int64_t i = 0; i < tokens.numel(); ++i) {
    tokens.mutable_data_ptr<int64_t>()[i] = static_cast<int64_t>(rng.Below(vocab));
  }
  return tokens;
}

double LargestDifference(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

// tests/golden/llama was written by transformers; its README says how.
TEST(Transformer, AgreesWithTransformersLlama) {
  const std::string dir = ATTNLAB_SOURCE_DIR "/tests/golden/llama";
  const auto model = LoadModel(dir);
  ASSERT_TRUE(model.ok()) << model.status();
  const auto loaded = LoadTensors(dir + "/expected.safetensors");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  std::map<std::string, at::Tensor> expected(loaded->begin(), loaded->end());
  const at::Tensor tokens = expected["tokens"];
  EXPECT_EQ(model->config().rope_theta, 500);
  EXPECT_EQ(model->config().KeyValueHeads(), 2);
  EXPECT_LT(LargestDifference(model->Logits(tokens), expected["logits"]), 2e-5);
  const int64_t last = tokens.size(1) - 1;
  const at::Tensor loss =
      model->TokenLoss(tokens.narrow(1, 0, last), tokens.narrow(1, 1, last)).mean();
  EXPECT_LT(LargestDifference(loss, expected["loss"][0]), 1e-5);
  loss.backward();
  const auto named = model->NamedParameters();
  std::map<std::string, at::Tensor> parameters(named.begin(), named.end());
  EXPECT_LT(
      LargestDifference(parameters["model.embed_tokens.weight"].grad(), expected["grad.embed"]),
      2e-5);
  EXPECT_LT(LargestDifference(parameters["model.layers.0.self_attn.q_proj.weight"].grad(),
                              expected["grad.q_proj"]),
            2e-5);
}

// Along a random direction of each tensor, in float64: (loss(+h) - loss(-h)) / 2h.
TEST(Transformer, GradientAgreesWithFiniteDifferences) {
  for (const bool tied : {false, true}) {
    ModelConfig config = Tiny("sink_logit");
    config.tie_word_embeddings = tied;
    const Transformer model = Make(config, at::kDouble);
    const at::Tensor tokens = Tokens({2, 9});
    const auto loss = [&] {
      return model.TokenLoss(tokens.narrow(1, 0, 8), tokens.narrow(1, 1, 8)).mean();
    };
    loss().backward();
    const c10::AutoGradMode no_grad(false);
    for (const auto& [name, parameter] : model.NamedParameters()) {
      at::Tensor direction = at::empty_like(parameter);
      Rng rng(2, name);
      for (int64_t i = 0; i < direction.numel(); ++i) {
        direction.mutable_data_ptr<double>()[i] = rng.Normal();
      }
      const double h = 1e-5;
      parameter.add_(direction, h);
      const double above = loss().item<double>();
      parameter.add_(direction, -2 * h);
      const double below = loss().item<double>();
      parameter.add_(direction, h);
      const double want = (above - below) / (2 * h);
      const double made = (parameter.grad() * direction).sum().item<double>();
      EXPECT_NEAR(made, want, 1e-7 * (1 + std::abs(want))) << name;
    }
  }
}

TEST(Transformer, FloatAgreesWithDouble) {
  const Transformer model = Make(Tiny()), exact = Make(Tiny(), at::kDouble);
  const at::Tensor tokens = Tokens({3, 17}), targets = Tokens({3, 17});
  model.TokenLoss(tokens, targets).sum().backward();
  exact.TokenLoss(tokens, targets).sum().backward();
  EXPECT_LT(LargestDifference(model.Logits(tokens), exact.Logits(tokens)), 2e-5);
  const auto parameters = model.NamedParameters(), exact_parameters = exact.NamedParameters();
  for (size_t i = 0; i < parameters.size(); ++i) {
    const at::Tensor want = exact_parameters[i].second.grad();
    EXPECT_LT(LargestDifference(parameters[i].second.grad(), want),
              2e-5 * (1 + want.abs().max().item<double>()))
        << parameters[i].first;
  }
}

TEST(Transformer, Bfloat16StaysCloseToFloat32) {
  const Transformer model = Make(Tiny());
  const at::Tensor tokens = Tokens({3, 17}), targets = Tokens({3, 17});
  ForwardOptions mixed;
  mixed.bfloat16 = true;
  EXPECT_EQ(model.Hidden(tokens, mixed).scalar_type(), at::kBFloat16);
  const at::Tensor loss = model.TokenLoss(tokens, targets, mixed);
  EXPECT_EQ(loss.scalar_type(), at::kFloat);
  EXPECT_LT(LargestDifference(loss, model.TokenLoss(tokens, targets)), 0.1);
  EXPECT_GT(LargestDifference(loss, model.TokenLoss(tokens, targets)), 0);
  loss.mean().backward();
  for (const auto& [name, parameter] : model.NamedParameters()) {
    EXPECT_EQ(parameter.grad().scalar_type(), at::kFloat) << name;
    EXPECT_TRUE(parameter.grad().isfinite().all().item<bool>()) << name;
  }
}

TEST(Transformer, TokenLossIsCrossEntropyOfLogits) {
  const Transformer model = Make(Tiny(), at::kDouble);
  const at::Tensor tokens = Tokens({2, 7});
  at::Tensor targets = Tokens({2, 7});
  targets[1][3] = -100;
  const at::Tensor log_p = at::log_softmax(model.Logits(tokens), -1);
  const at::Tensor want =
      -log_p.gather(2, targets.clamp_min(0).unsqueeze(2)).squeeze(2) * targets.ge(0);
  EXPECT_LT(LargestDifference(model.TokenLoss(tokens, targets), want), 1e-12);
}

TEST(Transformer, DecodeAgreesWithFullForward) {
  for (const std::string weighting : {"softmax", "softpick", "ssmax"}) {
    SCOPED_TRACE(weighting);
    const Transformer model = Make(Tiny(weighting));
    const at::Tensor tokens = Tokens({2, 21});
    const at::Tensor full = model.Logits(tokens);
    std::vector<KvCache> caches = model.MakeCaches(2, 21);
    int64_t at = 0;
    for (const int64_t count : {5, 1, 1, 12, 2}) {
      const at::Tensor logits = model.Decode(tokens.narrow(1, at, count), caches);
      at += count;
      EXPECT_LT(LargestDifference(logits, full.select(1, at - 1)), 2e-5) << "after " << at;
    }
  }
}

TEST(Transformer, GreedyTextContinuesItself) {
  const Transformer model = Make(Tiny());
  const at::Tensor tokens = Tokens({2, 3});
  const at::Tensor text = model.GenerateGreedy(tokens, 6);
  ASSERT_EQ(text.sizes(), (std::vector<int64_t>{2, 9}));
  EXPECT_TRUE(at::equal(text.narrow(1, 0, 3), tokens));
  const at::Tensor best = model.Logits(text).argmax(-1);
  EXPECT_TRUE(at::equal(text.narrow(1, 3, 6), best.narrow(1, 2, 6)));
}

TEST(Transformer, SameSeedSameWeightsForEveryVariant) {
  const auto softmax = Make(Tiny("softmax")).NamedParameters();
  for (const std::string& weighting : WeightingNames()) {
    const auto named = Make(Tiny(weighting)).NamedParameters();
    std::map<std::string, at::Tensor> parameters(named.begin(), named.end());
    for (const auto& [name, tensor] : softmax) {
      EXPECT_TRUE(at::equal(tensor, parameters[name])) << weighting << " " << name;
    }
    EXPECT_EQ(named.size(), softmax.size() + 2 * HeadParameters(Tiny(weighting).attention).size());
  }
  const auto other = Make(Tiny("softmax"), at::kFloat, 4).NamedParameters();
  EXPECT_FALSE(at::equal(softmax[0].second, other[0].second));
}

TEST(Transformer, InitialWeightsHaveTheirSpread) {
  ModelConfig config = Tiny();
  config.vocab_size = 4000;
  config.initializer_range = 0.02;
  const at::Tensor embedding = Make(config).NamedParameters()[0].second;
  EXPECT_NEAR(embedding.mean().item<double>(), 0, 4e-4);
  EXPECT_NEAR(embedding.std().item<double>(), 0.02, 2e-4);
}

TEST(Transformer, LaterTokensDoNotChangeEarlierLogits) {
  const Transformer model = Make(Tiny("softpick"));
  const at::Tensor tokens = Tokens({1, 12});
  at::Tensor changed = tokens.clone();
  changed[0][9] = (changed[0][9].item<int64_t>() + 1) % 19;
  const at::Tensor a = model.Logits(tokens), b = model.Logits(changed);
  EXPECT_LT(LargestDifference(a.narrow(1, 0, 9), b.narrow(1, 0, 9)), 1e-6);
  EXPECT_GT(LargestDifference(a.select(1, 9), b.select(1, 9)), 1e-3);
}

class Recorder : public ForwardProbe {
 public:
  void OnHidden(int64_t index, const at::Tensor& hidden) override {
    EXPECT_EQ(index, static_cast<int64_t>(hiddens.size()));
    hiddens.push_back(hidden);
  }
  void OnFinalNorm(const at::Tensor& hidden) override { final_norm = hidden; }
  void OnAttention(int64_t layer, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                   const at::Tensor& out, const AttentionOptions& options,
                   const std::vector<at::Tensor>& head_parameters) override {
    EXPECT_EQ(layer, attentions++);
    EXPECT_EQ(q.sizes(), (std::vector<int64_t>{2, 4, 11, 6}));
    EXPECT_EQ(k.sizes(), (std::vector<int64_t>{2, 2, 11, 6}));
    EXPECT_EQ(v.sizes(), k.sizes());
    EXPECT_EQ(out.sizes(), q.sizes());
    EXPECT_EQ(head_parameters.size(), HeadParameters(options).size());
  }
  std::vector<at::Tensor> hiddens;
  at::Tensor final_norm;
  int64_t attentions = 0;
};

TEST(Transformer, ProbeSeesEveryLayer) {
  const Transformer model = Make(Tiny("ssmax"));
  const at::Tensor tokens = Tokens({2, 11});
  Recorder recorder;
  ForwardOptions options;
  options.probe = &recorder;
  const at::Tensor hidden = model.Hidden(tokens, options);
  EXPECT_EQ(recorder.attentions, 2);
  ASSERT_EQ(recorder.hiddens.size(), 3);
  EXPECT_TRUE(
      at::equal(recorder.hiddens[0], at::embedding(model.NamedParameters()[0].second, tokens)));
  EXPECT_TRUE(at::equal(recorder.final_norm, hidden));
  const at::Tensor x = recorder.hiddens[2];
  EXPECT_LT(LargestDifference(hidden, x / (x.square().mean(-1, true) + 1e-6).sqrt()), 1e-5);
}

TEST(Transformer, PositionsShiftWithTheOffset) {
  // RoPE depends on distances only: all positions moved alike change nothing.
  const Transformer model = Make(Tiny(), at::kDouble);
  const at::Tensor tokens = Tokens({1, 10});
  ForwardOptions options;
  options.position_offset = 100;
  EXPECT_LT(LargestDifference(model.Logits(tokens, options), model.Logits(tokens)), 1e-9);
}

TEST(TransformerOnGpu, AgreesWithCpu) {
  if (!at::hasCUDA()) GTEST_SKIP() << "LibTorch sees no GPU";
  for (const std::string weighting : {"softmax", "softpick", "sink_logit"}) {
    SCOPED_TRACE(weighting);
    const Transformer cpu = Make(Tiny(weighting));
    const Transformer gpu = Transformer::Create(Tiny(weighting), 3, at::kCUDA).value();
    const at::Tensor tokens = Tokens({3, 17}), targets = Tokens({3, 17});
    const at::Tensor loss = gpu.TokenLoss(tokens.to(at::kCUDA), targets.to(at::kCUDA));
    const at::Tensor want = cpu.TokenLoss(tokens, targets);
    EXPECT_LT(LargestDifference(loss.cpu(), want), 2e-5);
    loss.sum().backward();
    want.sum().backward();
    const auto parameters = gpu.NamedParameters(), expected = cpu.NamedParameters();
    for (size_t i = 0; i < parameters.size(); ++i) {
      const at::Tensor grad = expected[i].second.grad();
      EXPECT_LT(LargestDifference(parameters[i].second.grad().cpu(), grad),
                5e-5 * (1 + grad.abs().max().item<double>()))
          << parameters[i].first;
    }
    ForwardOptions mixed;
    mixed.bfloat16 = true;
    const at::Tensor coarse = gpu.TokenLoss(tokens.to(at::kCUDA), targets.to(at::kCUDA), mixed);
    EXPECT_LT(LargestDifference(coarse.cpu(), want), 0.15);
    coarse.sum().backward();
    EXPECT_TRUE(at::equal(gpu.GenerateGreedy(tokens.to(at::kCUDA), 5).cpu(),
                          cpu.GenerateGreedy(tokens, 5)));
  }
}

TEST(Transformer, RejectsABadConfig) {
  ModelConfig config = Tiny();
  config.head_dim = 5;
  EXPECT_EQ(Transformer::Create(config, 1).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace attnlab
