// What the program `eval` opens and prints.
#include <cmath>
#include <filesystem>
#include <limits>
#include <string>

#include "apps/eval/output.h"
#include "apps/subject.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "libs/core/files.h"
#include "libs/io/json.h"
#include "libs/model/model_io.h"

namespace attnlab {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class SubjectTest : public testing::Test {
 protected:
  SubjectTest()
      : run_(std::filesystem::path(testing::TempDir()) /
             testing::UnitTest::GetInstance()->current_test_info()->name()) {
    std::filesystem::remove_all(run_);
    std::filesystem::create_directories(run_);
  }

  void SaveSmallModel(int64_t vocab_size) {
    ModelConfig config;
    config.vocab_size = vocab_size;
    config.hidden_size = 16;
    config.num_hidden_layers = 1;
    config.num_attention_heads = 2;
    config.intermediate_size = 16;
    const Transformer model = Transformer::Create(config, 1).value();
    ASSERT_TRUE(SaveModel(model, (run_ / "model").string()).ok());
  }
  void WriteRecipe() {
    ASSERT_TRUE(WriteFileAtomically((run_ / "recipe.toml").string(),
                                    "name = \"small\"\nseed = 5\nprecision = \"bfloat16\"\n[data]\n"
                                    "sequence_length = 12\nvalidation_sequences = 7\n")
                    .ok());
  }

  const std::filesystem::path run_;
};

TEST_F(SubjectTest, ARunFolderBringsItsRecipe) {
  SaveSmallModel(65);
  WriteRecipe();
  for (const std::filesystem::path& path : {run_, run_ / "model"}) {
    SubjectOptions options;
    options.model = path.string();
    options.device = "cpu";
    const Subject subject = OpenSubject(options).value();
    EXPECT_EQ(subject.name, "small");
    EXPECT_EQ(subject.seed, 5);
    EXPECT_TRUE(subject.forward.bfloat16);
    EXPECT_EQ(subject.tokenizer, nullptr);
    ASSERT_NE(subject.held_out, nullptr);
    EXPECT_EQ(subject.held_out->Validation(0).value().columns, 13);
    EXPECT_EQ(subject.held_out->Validation(0).value().rows, 7);
  }
}

TEST_F(SubjectTest, ATokenizerThatCannotBeReadIsAnErrorWhereTextsAreRead) {
  SaveSmallModel(65);
  ASSERT_TRUE(WriteFileAtomically((run_ / "model" / "tokenizer.json").string(),
                                  R"({"model": {"type": "Unigram"}})")
                  .ok());
  SubjectOptions options;
  options.model = (run_ / "model").string();
  options.device = "cpu";
  EXPECT_EQ(OpenSubject(options).value().tokenizer, nullptr);
  options.task_files = true;
  EXPECT_THAT(std::string(OpenSubject(options).status().message()),
              AllOf(HasSubstr("Unigram"), HasSubstr("--tokenizer")));
  options.tokenizer = "bytes";
  EXPECT_EQ(OpenSubject(options).value().tokenizer->kind(), "bytes");
}

TEST_F(SubjectTest, AModelAloneHasNoHeldOutData) {
  SaveSmallModel(65);
  SubjectOptions options;
  options.model = (run_ / "model").string();
  options.tokenizer = "bytes";
  options.device = "cpu";
  const Subject subject = OpenSubject(options).value();
  EXPECT_EQ(subject.name, "model");
  EXPECT_EQ(subject.held_out, nullptr);
  EXPECT_EQ(subject.tokenizer->kind(), "bytes");
  options.precision = "float64";
  EXPECT_THAT(std::string(OpenSubject(options).status().message()), HasSubstr("bfloat16"));
}

TEST_F(SubjectTest, DataOfAnotherVocabularyAreRefused) {
  SaveSmallModel(40);
  WriteRecipe();
  SubjectOptions options;
  options.model = run_.string();
  options.device = "cpu";
  EXPECT_THAT(std::string(OpenSubject(options).status().message()), HasSubstr("65"));
}

TEST(Output, TableAndJsonHoldTheSameNumbers) {
  Evaluation evaluation;
  evaluation.model = "small";
  evaluation.variant = "softpick";
  EvalScore score;
  score.task = "wikitext";
  score.metric = "word_perplexity";
  score.score = 23.854321;
  score.standard_error = std::numeric_limits<double>::quiet_NaN();
  score.n = 62;
  evaluation.scores.push_back(score);
  Metric metric;
  metric.value = 0.5;
  metric.label = "sink rate";
  evaluation.analysis.emplace_back("sink_rate_0.3_T64", metric);
  const std::string table = AsTable(evaluation);
  EXPECT_THAT(table, HasSubstr("small (softpick)\n"));
  EXPECT_THAT(table, HasSubstr("wikitext  word_perplexity  23.8543       -  62\n"));
  EXPECT_THAT(table, HasSubstr("sink rate  0.5000\n"));
  const Json json = Json::Parse(AsJson(evaluation), "output").value();
  const JsonRef root(json);
  EXPECT_EQ(root["scores"][0]["score"].Number().value(), 23.854321);
  EXPECT_FALSE(root["scores"][0]["stderr"].present());
  EXPECT_EQ(root["analysis"]["sink_rate_0.3_T64"]["value"].Number().value(), 0.5);
}

}  // namespace
}  // namespace attnlab
