// Scores of a small model against sums over its logits in float64, and tasks on small files.
#include "libs/eval/tasks.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/GradMode.h>

#include <cmath>
#include <filesystem>
#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "libs/core/files.h"
#include "libs/core/rng.h"
#include "libs/eval/held_out.h"
#include "libs/eval/python_text.h"
#include "libs/eval/wikitext_text.h"
#include "libs/model/runtime.h"

namespace attnlab {
namespace {

using testing::HasSubstr;

ModelConfig SmallModel() {
  ModelConfig config;
  config.vocab_size = 258;
  config.hidden_size = 32;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 2;
  config.intermediate_size = 48;
  config.max_position_embeddings = 48;
  config.initializer_range = 0.3;
  return config;
}

// log p(continuation | context), and whether it is greedy, from the logits of the whole sequence.
std::pair<double, bool> Naive(const Transformer& model, std::vector<int32_t> context,
                              const std::vector<int32_t>& continuation, int64_t max_length) {
  context.insert(context.end(), continuation.begin(), continuation.end());
  const int64_t excess = static_cast<int64_t>(context.size()) - max_length - 1;
  if (excess > 0) context.erase(context.begin(), context.begin() + excess);
  std::vector<int64_t> ids(context.begin(), context.end() - 1);
  const int64_t length = static_cast<int64_t>(ids.size());
  const at::Tensor logits =
      model.Logits(at::from_blob(ids.data(), {1, length}, at::TensorOptions().dtype(at::kLong)))
          .to(at::kDouble)
          .contiguous();
  const int64_t vocab = logits.size(2);
  double sum = 0;
  bool greedy = true;
  for (int64_t t = length - static_cast<int64_t>(continuation.size()); t < length; ++t) {
    const double* row = logits.const_data_ptr<double>() + t * vocab;
    double total = 0;
    for (int64_t i = 0; i < vocab; ++i) total += std::exp(row[i]);
    sum += row[context[t + 1]] - std::log(total);
    greedy = greedy && std::max_element(row, row + vocab) - row == context[t + 1];
  }
  return {sum, greedy};
}

class EvalTest : public testing::Test {
 protected:
  EvalTest()
      : no_gradient_(false),
        model_(Transformer::Create(SmallModel(), 3).value()),
        tokenizer_(LoadTokenizer("bytes").value()),
        folder_(std::filesystem::path(testing::TempDir()) /
                testing::UnitTest::GetInstance()->current_test_info()->name()) {
    SetThreads(1);  // many small passes
    std::filesystem::create_directories(folder_);
    context_.model = &model_;
    context_.tokenizer = tokenizer_.get();
    context_.data = folder_.string();
    context_.batch_tokens = 100;  // several batches
  }

  void Put(const std::string& name, const std::string& contents) {
    ASSERT_TRUE(WriteFileAtomically((folder_ / name).string(), contents).ok());
  }
  double NaiveLog(const std::string& text_context, const std::string& continuation) {
    const HarnessEncoder encoder(*tokenizer_, context_.harness);
    const auto [head, tail] = encoder.EncodePair(text_context, continuation);
    return Naive(model_, head, tail, context_.MaxLength()).first;
  }

  const c10::AutoGradMode no_gradient_;
  const Transformer model_;
  const std::unique_ptr<Tokenizer> tokenizer_;
  const std::filesystem::path folder_;
  EvalContext context_;
};

TEST_F(EvalTest, ScoresAgreeWithLogits) {
  Rng rng(4, "requests");
  const auto draw = [&](int64_t length) {
    std::vector<int32_t> tokens(length);
    for (int32_t& token : tokens) token = static_cast<int32_t>(rng.Below(256));
    return tokens;
  };
  std::vector<ScoreRequest> requests;
  for (int64_t length : {3, 40, 1, 12, 60, 48}) {
    requests.push_back({draw(length), draw(1 + length / 5), true});
  }
  // A continuation that is greedy by construction.
  ScoreRequest likely{draw(9), {}, true};
  std::vector<int64_t> ids(likely.context.begin(), likely.context.end());
  const at::Tensor generated = model_.GenerateGreedy(
      at::from_blob(ids.data(), {1, 9}, at::TensorOptions().dtype(at::kLong)), 4);
  for (int i = 9; i < 13; ++i) {
    likely.continuation.push_back(static_cast<int32_t>(generated[0][i].item<int64_t>()));
  }
  requests.push_back(likely);
  const std::vector<Score> scores =
      ScoreRequests(model_, requests, context_.Scoring("test")).value();
  for (size_t i = 0; i < requests.size(); ++i) {
    const auto [log_likelihood, greedy] =
        Naive(model_, requests[i].context, requests[i].continuation, 48);
    EXPECT_NEAR(scores[i].log_likelihood, log_likelihood, 1e-4 * std::abs(log_likelihood)) << i;
    EXPECT_EQ(scores[i].greedy, greedy) << i;
  }
  EXPECT_TRUE(scores.back().greedy);
}

TEST_F(EvalTest, TokensOutsideTheVocabularyAreRefused) {
  const auto scores = ScoreRequests(model_, {{{1}, {258}}}, context_.Scoring("test"));
  EXPECT_EQ(scores.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(scores.status().message()), HasSubstr("258"));
}

TEST_F(EvalTest, RequestsWithoutTokensAreRefused) {
  EXPECT_FALSE(ScoreRequests(model_, {{{}, {1}}}, context_.Scoring("test")).ok());
  EXPECT_FALSE(ScoreRequests(model_, {{{1}, {}}}, context_.Scoring("test")).ok());
  Put("lambada_openai.jsonl", "{\"text\": \"  x\"}");  // the context is blank
  EXPECT_THAT(std::string(RunTask("lambada_openai", context_).status().message()),
              HasSubstr("blank"));
}

TEST_F(EvalTest, WikitextScoresEachTokenOfThePagesOnce) {
  const std::string raw = ReadFile(ATTNLAB_SOURCE_DIR "/tests/golden/eval/lantern.raw").value();
  Put("wiki.test.raw", raw);
  double sum = 0, words = 0, bytes = 0;
  for (const std::string& page : WikitextPages(raw)) {
    words += static_cast<double>(python::SplitCount(page));
    bytes += static_cast<double>(page.size());
    const std::vector<int32_t> tokens = tokenizer_->Encode(WikitextDetokenize(page));
    for (size_t begin = 0; begin < tokens.size(); begin += 48) {
      const size_t end = std::min(begin + 48, tokens.size());
      std::vector<int32_t> head = {256};
      if (begin > 0) head.assign(tokens.begin() + (end - 49), tokens.begin() + begin);
      sum += Naive(model_, head, {tokens.begin() + begin, tokens.begin() + end}, 48).first;
    }
  }
  const TaskOutcome outcome = RunTask("wikitext", context_).value();
  ASSERT_EQ(outcome.scores.size(), 3u);
  EXPECT_EQ(outcome.scores[0].metric, "word_perplexity");
  EXPECT_NEAR(std::log(outcome.scores[0].score), -sum / words, 1e-4 * -sum / words);
  EXPECT_NEAR(std::log(outcome.scores[1].score), -sum / bytes, 1e-4 * -sum / bytes);
  EXPECT_NEAR(outcome.scores[2].score, -sum / bytes / std::log(2.0), 1e-3);
  EXPECT_EQ(outcome.scores[0].n, 2);
  EXPECT_EQ(outcome.inputs[0].bytes, static_cast<int64_t>(raw.size()));
  context_.limit = 1;
  EXPECT_EQ(RunTask("wikitext", context_).value().scores[0].per_example.size(), 1u);
}

TEST_F(EvalTest, WikitextTokensInDisjointWindows) {
  const std::string raw = ReadFile(ATTNLAB_SOURCE_DIR "/tests/golden/eval/lantern.raw").value();
  Put("wiki.test.raw", raw);
  const std::vector<int32_t> tokens = tokenizer_->Encode(WikitextJoined(raw));
  double loss = 0;
  const size_t windows = tokens.size() / 48;
  for (size_t i = 0; i < windows; ++i) {
    const auto begin = tokens.begin() + i * 48;
    loss -= Naive(model_, {*begin}, {begin + 1, begin + 48}, 48).first / 47 / windows;
  }
  const TaskOutcome outcome = RunTask("wikitext_tokens", context_).value();
  EXPECT_NEAR(std::log(outcome.scores[0].score), loss, 1e-4 * loss);
  EXPECT_EQ(outcome.scores[0].n, static_cast<int64_t>(windows));
}

TEST_F(EvalTest, LambadaScoresTheLastWord) {
  Put("lambada_openai.jsonl", "{\"text\": \"the cat\"}\n{\"text\": \"a b c\"}\n");
  const TaskOutcome outcome = RunTask("lambada_openai", context_).value();
  const double mean = (NaiveLog("the", " cat") + NaiveLog("a b", " c")) / 2;
  EXPECT_NEAR(std::log(outcome.scores[0].score), -mean, 1e-4 * -mean);
  EXPECT_EQ(outcome.scores[1].metric, "acc");
}

TEST_F(EvalTest, ChoicesAreWeighedByLogLikelihoodAndByLength) {
  std::string lines;
  double plain = 0, per_length = 0;
  for (int i = 0; i < 12; ++i) {
    const std::string goal = "goal " + std::to_string(i * i), a = "na\u00efve", b = "a longer one";
    lines += "{\"goal\": \"" + goal + "\", \"sol1\": \"" + a + "\", \"sol2\": \"" + b +
             "\", \"label\": 1}\n";
    const std::string question = "Question: " + goal + "\nAnswer:";
    const double first = NaiveLog(question, " " + a), second = NaiveLog(question, " " + b);
    plain += second > first;
    per_length += second / 12 > first / 5;
  }
  Put("piqa.jsonl", lines);
  const TaskOutcome outcome = RunTask("piqa", context_).value();
  EXPECT_NEAR(outcome.scores[0].score, plain / 12, 1e-12);
  EXPECT_NEAR(outcome.scores[1].score, per_length / 12, 1e-12);
  EXPECT_EQ(outcome.scores[1].metric, "acc_norm");
}

TEST_F(EvalTest, BadFilesNameTheLine) {
  EXPECT_THAT(std::string(RunTask("piqa", context_).status().message()), HasSubstr("piqa.jsonl"));
  Put("copa.jsonl", "{\"premise\": 3}\n");
  EXPECT_THAT(std::string(RunTask("copa", context_).status().message()), HasSubstr("copa.jsonl:1"));
  Put("winogrande.jsonl",
      "\n{\"sentence\": \"no blank\", \"option1\": \"a\", \"option2\": \"b\", \"answer\": \"1\"}");
  EXPECT_THAT(std::string(RunTask("winogrande", context_).status().message()),
              HasSubstr("winogrande.jsonl:2"));
  Put("piqa.jsonl", "{\"goal\": \"g\", \"sol1\": \"a\", \"sol2\": \"b\", \"label\": 2}");
  EXPECT_THAT(std::string(RunTask("piqa", context_).status().message()),
              HasSubstr("none of the choices"));
  Put("arc_easy.jsonl", "\n");
  EXPECT_THAT(std::string(RunTask("arc_easy", context_).status().message()),
              HasSubstr("no documents"));
}

TEST_F(EvalTest, WhatIsMissingIsNamed) {
  EXPECT_THAT(std::string(RunTask("nothing", context_).status().message()), HasSubstr("held_out"));
  EXPECT_THAT(std::string(RunTask("held_out", context_).status().message()), HasSubstr("--data"));
  context_.tokenizer = nullptr;
  EXPECT_THAT(std::string(RunTask("wikitext", context_).status().message()),
              HasSubstr("--tokenizer"));
}

TEST_F(EvalTest, HeldOutLossByRole) {
  DataOptions data;
  data.sequence_length = 20;
  data.batch = 4;
  data.validation_sequences = 10;
  const auto source = OpenBatchSource(data, 1).value();
  const HeldOutScore score = ScoreHeldOut(*source, model_, 6).value();
  EXPECT_EQ(score.sequences, 6);
  EXPECT_EQ(score.tokens, 120);
  const std::vector<Role> roles = source->roles();
  double sum = 0, backcopy = 0, backcopy_count = 0;
  for (int64_t row = 0; row < 6; ++row) {
    const TokenBatch batch = source->Validation(row / 4).value();
    const int32_t* tokens = batch.Row(row % 4);
    for (int t = 0; t < 20; ++t) {
      const double loss = -Naive(model_, {tokens, tokens + t + 1}, {tokens[t + 1]}, 48).first;
      sum += loss;
      if (roles[batch.roles[(row % 4) * 20 + t]].name != "backcopy") continue;
      backcopy += loss;
      ++backcopy_count;
    }
  }
  EXPECT_NEAR(score.loss, sum / 120, 1e-4);
  EXPECT_EQ(score.roles[2].name, "backcopy");
  EXPECT_EQ(score.roles[2].tokens, backcopy_count);
  EXPECT_NEAR(score.roles[2].loss, backcopy / backcopy_count, 1e-4);
  context_.held_out = source.get();
  EXPECT_EQ(RunTask("backcopy", context_).value().scores.size(), 7u);
}

}  // namespace
}  // namespace attnlab
