#include "libs/recipe/recipe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "libs/core/files.h"

namespace attnlab {
namespace {

using ::testing::HasSubstr;

struct Attention {
  std::string weighting = "softmax";
  std::map<std::string, double> constants;
  template <class V>
  void ForEach(V&& visit) {
    visit("weighting", weighting, "variant");
    visit("constants", constants, "constants");
  }
};
struct Model {
  int64_t layers = 2;
  double theta = 1e4;
  Attention attention;
  template <class V>
  void ForEach(V&& visit) {
    visit("layers", layers, "layers");
    visit("theta", theta, "RoPE base");
    visit("attention", attention, "attention");
  }
};
struct Config {
  int64_t seed = 1;
  bool tied = false;
  std::string name = "run";
  std::vector<int64_t> steps = {1, 2};
  Model model;
  template <class V>
  void ForEach(V&& visit) {
    visit("seed", seed, "seed");
    visit("tied", tied, "tied");
    visit("name", name, "name");
    visit("steps", steps, "steps");
    visit("model", model, "model");
  }
};

std::string ErrorOf(const std::string& text, const std::vector<std::string>& sets = {}) {
  const auto recipe = Recipe::Parse(text, "r.toml", sets);
  if (!recipe.ok()) return std::string(recipe.status().message());
  Config config;
  return std::string(recipe->Read(config).message());
}

TEST(Recipe, ReadsWhatItSaysAndKeepsDefaults) {
  const auto recipe = Recipe::Parse(
      "seed = 7\nsteps = [3]\n[model]\ntheta = 5\n[model.attention]\nweighting = "
      "'softpick'\nconstants = {epsilon = 1e-6}\n",
      "r.toml");
  ASSERT_TRUE(recipe.ok()) << recipe.status();
  Config config;
  ASSERT_TRUE(recipe->Read(config).ok());
  EXPECT_EQ(config.seed, 7);
  EXPECT_EQ(config.steps, std::vector<int64_t>{3});
  EXPECT_EQ(config.model.layers, 2);
  EXPECT_EQ(config.model.theta, 5.0);
  EXPECT_EQ(config.model.attention.weighting, "softpick");
  EXPECT_EQ(config.model.attention.constants.at("epsilon"), 1e-6);
}

TEST(Recipe, ErrorsNameFileLineKeyAndMend) {
  EXPECT_EQ(ErrorOf("[model]\nlayer = 3\n"),
            "r.toml:2: unknown key model.layer; did you mean layers?");
  EXPECT_EQ(ErrorOf("\nseed = 'x'\n"), "r.toml:2: seed must be an integer, not a string");
  EXPECT_EQ(ErrorOf("seed = 1.5\n"), "r.toml:1: seed must be an integer, not a float");
  EXPECT_EQ(ErrorOf("model = 1\n"), "r.toml:1: model must be a table, not an integer");
  EXPECT_EQ(ErrorOf("steps = [1, 'x']\n"), "r.toml:1: steps[1] must be an integer, not a string");
  EXPECT_THAT(ErrorOf("seed = \n"), HasSubstr("r.toml:1: "));
  EXPECT_THAT(ErrorOf("completely_different_key = 1\n"), HasSubstr("known: seed, tied"));
}

TEST(Recipe, SetOverrides) {
  const auto recipe = Recipe::Parse(
      "[model]\nlayers = 3\n", "r.toml",
      {"model.layers=4", "name=fast/run-1", "model.attention.weighting=\"relu\"", "tied=true"});
  ASSERT_TRUE(recipe.ok()) << recipe.status();
  Config config;
  ASSERT_TRUE(recipe->Read(config).ok());
  EXPECT_EQ(config.model.layers, 4);
  EXPECT_EQ(config.name, "fast/run-1");
  EXPECT_EQ(config.model.attention.weighting, "relu");
  EXPECT_TRUE(config.tied);
  EXPECT_THAT(ErrorOf("", {"model.layers"}), HasSubstr("expected section.key=value"));
  EXPECT_THAT(ErrorOf("", {"name=two words"}), HasSubstr("a string needs quotes"));
  EXPECT_EQ(ErrorOf("", {"model.layrs=2"}),
            "--set model.layrs=2:1: unknown key model.layrs; did you mean layers?");
}

TEST(Recipe, ExtendsOneParent) {
  const std::string folder = absl::StrCat(::testing::TempDir(), "/attnlab_recipe_", getpid());
  std::filesystem::create_directories(folder);
  ASSERT_TRUE(
      WriteFileAtomically(folder + "/base.toml", "seed = 3\n[model]\nlayers = 5\ntheta = 2.0\n")
          .ok());
  ASSERT_TRUE(
      WriteFileAtomically(folder + "/child.toml", "extends = 'base.toml'\n[model]\nlayers = 6\n")
          .ok());
  ASSERT_TRUE(WriteFileAtomically(folder + "/loop.toml", "extends = 'loop.toml'\n").ok());
  ASSERT_TRUE(WriteFileAtomically(folder + "/orphan.toml", "extends = 'gone.toml'\n").ok());
  const auto recipe = Recipe::Load(folder + "/child.toml");
  ASSERT_TRUE(recipe.ok()) << recipe.status();
  Config config;
  ASSERT_TRUE(recipe->Read(config).ok());
  EXPECT_EQ(config.seed, 3);
  EXPECT_EQ(config.model.layers, 6);
  EXPECT_EQ(config.model.theta, 2.0);
  EXPECT_THAT(std::string(Recipe::Load(folder + "/loop.toml").status().message()),
              HasSubstr("extend itself"));
  EXPECT_THAT(std::string(Recipe::Load(folder + "/orphan.toml").status().message()),
              HasSubstr("gone.toml"));
  EXPECT_FALSE(Recipe::Load(folder + "/missing.toml").ok());
}

TEST(Recipe, SweepGivesEveryCombination) {
  const auto recipe = Recipe::Parse(
      "[sweep]\nseed = [1, 2]\nmodel.attention.weighting = ['softmax', 'softpick']\n", "r.toml");
  ASSERT_TRUE(recipe.ok());
  const auto cells = recipe->Cells();
  ASSERT_TRUE(cells.ok()) << cells.status();
  ASSERT_EQ(cells->size(), 4u);
  EXPECT_EQ((*cells)[0].name, "softmax-seed1");
  EXPECT_EQ((*cells)[3].name, "softpick-seed2");
  Config config;
  ASSERT_TRUE((*cells)[3].recipe.Read(config).ok());
  EXPECT_EQ(config.seed, 2);
  EXPECT_EQ(config.model.attention.weighting, "softpick");
  EXPECT_EQ(Recipe::Parse("seed = 1", "r.toml")->Cells()->size(), 1u);
  EXPECT_THAT(std::string(Recipe::Parse("[sweep]\nseed = 1", "r.toml")->Cells().status().message()),
              HasSubstr("must be an array"));
}

struct Zoo {
  std::map<std::string, Attention> animals;
  template <class V>
  void ForEach(V&& visit) {
    visit("animals", animals, "sections of any name");
  }
};

TEST(Recipe, SectionsOfAnyName) {
  const auto recipe = Recipe::Parse(
      "[animals.bear]\nweighting = 'relu'\n[animals.\"sea.lion\"]\nconstants = {weight = 2}\n",
      "zoo.toml");
  ASSERT_TRUE(recipe.ok()) << recipe.status();
  Zoo zoo;
  ASSERT_TRUE(recipe->Read(zoo).ok());
  ASSERT_EQ(zoo.animals.size(), 2u);
  EXPECT_EQ(zoo.animals.at("bear").weighting, "relu");
  EXPECT_EQ(zoo.animals.at("sea.lion").weighting, "softmax");
  EXPECT_EQ(zoo.animals.at("sea.lion").constants.at("weight"), 2);
  Zoo again;
  const std::string text = DumpToml(zoo);
  ASSERT_TRUE(Recipe::Parse(text, "dump")->Read(again).ok()) << text;
  EXPECT_EQ(again.animals.size(), 2u);
  EXPECT_EQ(DumpToml(again), text);

  const auto error_of = [](const std::string& text) {
    Zoo zoo;
    return std::string(Recipe::Parse(text, "zoo.toml")->Read(zoo).message());
  };
  EXPECT_EQ(error_of("[animals.bear]\nweight = 1\n"),
            "zoo.toml:2: unknown key animals.bear.weight; did you mean weighting?");
  EXPECT_EQ(error_of("animals.bear = 1\n"),
            "zoo.toml:1: animals.bear must be a table, not an integer");
  EXPECT_EQ(error_of("animals = 1\n"), "zoo.toml:1: animals must be a table, not an integer");
}

TEST(Recipe, DumpReadsBackToTheSame) {
  Config config;
  config.name = "quotes \" and \\ and \n line";
  config.model.theta = 0.1;
  config.model.attention.constants = {{"epsilon", 1e-300}, {"bias", -7.62}};
  config.steps = {};
  const std::string text = DumpToml(config);
  const auto recipe = Recipe::Parse(text, "dump");
  ASSERT_TRUE(recipe.ok()) << recipe.status() << text;
  Config read;
  ASSERT_TRUE(recipe->Read(read).ok());
  EXPECT_EQ(DumpToml(read), text);
  EXPECT_EQ(read.name, config.name);
  EXPECT_EQ(read.model.theta, 0.1);
  EXPECT_EQ(read.model.attention.constants, config.model.attention.constants);
}

TEST(Recipe, AlternativesKeepTheirOrder) {
  const Recipe recipe =
      Recipe::Parse(
          "name = \"a\"\n[methods]\nrtn = [{bits = 4}]\nhqq = [{bits = 3, solver = \"v2\"}, {}]\n",
          "r.toml")
          .value();
  const auto alternatives = recipe.Alternatives("methods").value();
  ASSERT_EQ(alternatives.size(), 3u);
  EXPECT_EQ(alternatives[0].name, "rtn");
  EXPECT_EQ(alternatives[0].settings, "bits=4");
  EXPECT_EQ(alternatives[1].name, "hqq");
  EXPECT_EQ(alternatives[1].settings, "bits=3 solver=v2");
  EXPECT_EQ(alternatives[2].settings, "");
  EXPECT_FALSE(recipe.Without("methods").Alternatives("methods").ok());
  EXPECT_THAT(std::string(Recipe::Parse("[methods]\nrtn = 4\n", "r.toml")
                              .value()
                              .Alternatives("methods")
                              .status()
                              .message()),
              testing::HasSubstr("list of tables"));
}

struct Place {
  std::string at;
  template <class V>
  void ForEach(V&& visit) {
    visit("at", at, "where");
  }
};

TEST(Recipe, KeysApartAreNoSettings) {
  const Recipe recipe =
      Recipe::Parse("[methods]\ngptq = [{bits = 4, at = 'books'}, {bits = 3}, {at = 3}]\n",
                    "r.toml")
          .value();
  const auto alternatives = recipe.Alternatives("methods", {"at"}).value();
  ASSERT_EQ(alternatives.size(), 3u);
  EXPECT_EQ(alternatives[0].settings, "bits=4");
  Place first, second, third;
  EXPECT_FALSE(alternatives[0].recipe.Read(first).ok());  // bits is there, at is not
  ASSERT_TRUE(alternatives[0].apart.Read(first).ok());
  EXPECT_EQ(first.at, "books");
  ASSERT_TRUE(alternatives[1].apart.Read(second).ok());
  EXPECT_EQ(second.at, "");
  EXPECT_THAT(std::string(alternatives[2].apart.Read(third).message()),
              testing::HasSubstr("at must be a string"));
}

}  // namespace
}  // namespace attnlab
