// Model folders: what is saved is what is loaded, and hostile folders end in one clear error.

#include "libs/model/model_io.h"

#include <ATen/Functions.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "libs/core/files.h"
#include "libs/model/tensor_io.h"

namespace attnlab {
namespace {

using Named = std::vector<std::pair<std::string, at::Tensor>>;

ModelConfig Tiny() {
  ModelConfig config;
  config.vocab_size = 19;
  config.hidden_size = 16;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  config.intermediate_size = 20;
  config.max_position_embeddings = 32;
  config.scale_output_init = true;
  config.bos_token_id = -1;
  config.attention.weighting = "sink_logit";
  config.attention.window = 7;
  config.attention.first_kept = 2;
  config.attention.scale = 0.25;
  return config;
}

std::string FreshDir(const std::string& name) {
  const std::string dir =
      testing::TempDir() + "attnlab_model_io_" + std::to_string(getpid()) + "_" + name;
  std::filesystem::remove_all(dir);
  return dir;
}

// A saved model whose tensors `change` alters in the file.
template <class Change>
absl::Status LoadChanged(const std::string& name, Change change) {
  const std::string dir = FreshDir(name);
  const Transformer model = Transformer::Create(Tiny(), 1).value();
  EXPECT_TRUE(SaveModel(model, dir).ok());
  Named tensors = model.NamedParameters();
  change(tensors);
  EXPECT_TRUE(SaveTensors(dir + "/model.safetensors", tensors).ok());
  return LoadModel(dir).status();
}

void ExpectError(const absl::Status& status, const std::string& part) {
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr(part));
}

TEST(ModelIo, LoadsWhatWasSaved) {
  for (const bool tied : {false, true}) {
    const std::string dir = FreshDir("round");
    ModelConfig config = Tiny();
    config.tie_word_embeddings = tied;
    const Transformer model = Transformer::Create(config, 1).value();
    ASSERT_TRUE(SaveModel(model, dir).ok());
    const auto loaded = LoadModel(dir);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_EQ(loaded->config().attention.weighting, "sink_logit");
    EXPECT_EQ(loaded->config().attention.window, 7);
    EXPECT_EQ(loaded->config().attention.first_kept, 2);
    EXPECT_EQ(loaded->config().attention.scale, 0.25);
    EXPECT_TRUE(loaded->config().scale_output_init);
    EXPECT_EQ(loaded->config().bos_token_id, -1);
    const Named before = model.NamedParameters(), after = loaded->NamedParameters();
    ASSERT_EQ(before.size(), after.size());
    for (size_t i = 0; i < before.size(); ++i) {
      EXPECT_EQ(before[i].first, after[i].first);
      EXPECT_TRUE(at::equal(before[i].second, after[i].second)) << before[i].first;
      EXPECT_TRUE(after[i].second.requires_grad());
    }
    const at::Tensor tokens = at::tensor({3, 1, 4, 1, 5, 9, 2, 6, 5, 3}, at::kLong).unsqueeze(0);
    EXPECT_TRUE(at::equal(model.Logits(tokens), loaded->Logits(tokens)));
  }
}

TEST(ModelIo, SavesTheSameBytesTwice) {
  const std::string a = FreshDir("bytes_a"), b = FreshDir("bytes_b");
  const Transformer model = Transformer::Create(Tiny(), 1).value();
  ASSERT_TRUE(SaveModel(model, a).ok() && SaveModel(model, b).ok());
  for (const std::string file : {"/config.json", "/model.safetensors"}) {
    EXPECT_EQ(ReadFile(a + file).value(), ReadFile(b + file).value());
  }
}

TEST(ModelIo, ReadsHalfPrecisionShards) {
  const std::string dir = FreshDir("shards");
  const Transformer model = Transformer::Create(Tiny(), 1).value();
  ASSERT_TRUE(SaveModel(model, dir).ok());
  const Named all = model.NamedParameters();
  Named first, second;
  std::string map;
  for (size_t i = 0; i < all.size(); ++i) {
    const bool even = i % 2 == 0;
    (even ? first : second).emplace_back(all[i].first, all[i].second.to(at::kBFloat16));
    map += (i ? ",\"" : "\"") + all[i].first + "\":\"" + (even ? "a" : "b") + ".safetensors\"";
  }
  std::filesystem::remove(dir + "/model.safetensors");
  ASSERT_TRUE(SaveTensors(dir + "/a.safetensors", first).ok());
  ASSERT_TRUE(SaveTensors(dir + "/b.safetensors", second).ok());
  const std::string index = dir + "/model.safetensors.index.json";
  ASSERT_TRUE(WriteFileAtomically(index, "{\"weight_map\":{" + map + "}}").ok());
  const auto loaded = LoadModel(dir);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  for (size_t i = 0; i < all.size(); ++i) {
    EXPECT_TRUE(at::equal(loaded->NamedParameters()[i].second,
                          all[i].second.to(at::kBFloat16).to(at::kFloat)));
  }
  ASSERT_TRUE(WriteFileAtomically(index, "{\"weight_map\":{\"x\":\"../a.safetensors\"}}").ok());
  ExpectError(LoadModel(dir).status(), "same folder");
}

TEST(ModelIo, MissingFolder) {
  EXPECT_EQ(LoadModel(FreshDir("none")).status().code(), absl::StatusCode::kNotFound);
}

TEST(ModelIo, MissingTensor) {
  ExpectError(LoadChanged("missing", [](Named& tensors) { tensors.erase(tensors.begin() + 3); }),
              "tensor model.layers.0.self_attn.k_proj.weight is missing");
}

TEST(ModelIo, UnknownTensor) {
  ExpectError(LoadChanged("extra",
                          [](Named& tensors) {
                            tensors.emplace_back("model.layers.2.mlp.x", at::zeros({2}));
                          }),
              "tensor model.layers.2.mlp.x belongs to no part");
}

TEST(ModelIo, RotaryFrequenciesAreIgnored) {
  const absl::Status status = LoadChanged("inv_freq", [](Named& tensors) {
    tensors.emplace_back("model.layers.0.self_attn.rotary_emb.inv_freq", at::zeros({2}));
  });
  EXPECT_TRUE(status.ok()) << status;
}

TEST(ModelIo, WrongShape) {
  ExpectError(LoadChanged("shape",
                          [](Named& tensors) {
                            tensors[0].second = at::zeros({19, 17});
                          }),
              "tensor model.embed_tokens.weight has shape [19, 17], but config.json makes it "
              "[19, 16]");
}

TEST(ModelIo, WrongDtype) {
  ExpectError(LoadChanged("dtype",
                          [](Named& tensors) {
                            tensors[0].second = at::zeros({19, 16}, at::kInt);
                          }),
              "tensor model.embed_tokens.weight is I32");
}

TEST(ModelIo, ConfigThatAsksForMoreThanTheFileHolds) {
  const std::string dir = FreshDir("huge");
  ASSERT_TRUE(SaveModel(Transformer::Create(Tiny(), 1).value(), dir).ok());
  std::string text = ReadFile(dir + "/config.json").value();
  const std::string field = "\"vocab_size\": 19";
  ASSERT_NE(text.find(field), std::string::npos);
  text.replace(text.find(field), field.size(), "\"vocab_size\": 16000000");
  ASSERT_TRUE(WriteFileAtomically(dir + "/config.json", text).ok());
  ExpectError(LoadModel(dir).status(), "config.json makes it [16000000, 16]");
}

TEST(ModelIo, UnknownVariantOrNumber) {
  const std::string dir = FreshDir("variant");
  ASSERT_TRUE(SaveModel(Transformer::Create(Tiny(), 1).value(), dir).ok());
  const std::string text = ReadFile(dir + "/config.json").value();
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string changed = text;
    changed.replace(changed.find(from), from.size(), to);
    EXPECT_TRUE(WriteFileAtomically(dir + "/config.json", changed).ok());
    return LoadModel(dir).status();
  };
  ExpectError(with("\"sink_logit\"", "\"sunk_logit\""), "sunk_logit");
  ExpectError(with("\"window\": 7", "\"wimdow\": 7"), "attnlab.wimdow is not known");
  ExpectError(with("\"window\": 7.0", "\"window\": 1e300"), "attnlab.window");
}

TEST(TensorIo, RefusesADtypeWithoutAName) {
  const absl::Status status =
      SaveTensors(FreshDir("complex") + ".safetensors", {{"c", at::zeros({2}, at::kComplexFloat)}});
  ExpectError(status, "tensor c is ComplexFloat");
}

TEST(TensorIo, KeepsScalarsAndStrides) {
  const std::string path = FreshDir("tensors") + ".safetensors";
  const at::Tensor matrix = at::arange(12, at::kDouble).view({3, 4}).t();
  ASSERT_TRUE(SaveTensors(path, {{"m", matrix}, {"s", at::full({}, 7, at::kLong)}}).ok());
  const auto loaded = LoadTensors(path);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  for (const auto& [name, tensor] : *loaded) {
    EXPECT_TRUE(at::equal(tensor, name == "m" ? matrix : at::full({}, 7, at::kLong)));
  }
}

}  // namespace
}  // namespace attnlab
