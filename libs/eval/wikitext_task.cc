// WikiText-2 in the two ways in which papers report it.
//
//   wikitext         exp(-sum of log p / words) over pages: each page is scored as a whole in
//                    rolling windows of its detokenised text; words and bytes are those of the
//                    original page (lm-evaluation-harness)
//   wikitext_tokens  exp(mean loss) over disjoint windows of the joined text, the first token of
//                    each window unscored, the rest at the end dropped (GPTQ, Wanda, SmoothQuant)
#include <cmath>
#include <limits>
#include <numbers>

#include "absl/strings/str_cat.h"
#include "libs/core/status.h"
#include "libs/eval/python_text.h"
#include "libs/eval/statistics.h"
#include "libs/eval/task_list.h"
#include "libs/eval/wikitext_text.h"

namespace attnlab {
namespace {

constexpr char kFile[] = "wiki.test.raw";
constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

}  // namespace

absl::StatusOr<TaskOutcome> WikitextTask(const EvalContext& context) {
  TaskOutcome outcome;
  ATTNLAB_ASSIGN_OR_RETURN(const HarnessEncoder encoder, MakeEncoder(context));
  ATTNLAB_ASSIGN_OR_RETURN(const std::string raw, ReadTaskFile(context, kFile, outcome));
  std::vector<std::string> pages = WikitextPages(raw);
  pages.resize(Limited(static_cast<int64_t>(pages.size()), context.limit));
  std::vector<ScoreRequest> requests;
  std::vector<size_t> page_of;  // of each request
  double words = 0, bytes = 0;
  for (size_t i = 0; i < pages.size(); ++i) {
    words += static_cast<double>(python::SplitCount(pages[i]));
    bytes += static_cast<double>(pages[i].size());
    for (ScoreRequest& request : RollingRequests(encoder.Encode(WikitextDetokenize(pages[i])),
                                                 encoder.prefix(), context.MaxLength())) {
      requests.push_back(std::move(request));
      page_of.push_back(i);
    }
  }
  if (requests.empty()) return absl::InvalidArgumentError(absl::StrCat(kFile, " holds no text"));
  ATTNLAB_ASSIGN_OR_RETURN(const std::vector<Score> scores,
                           ScoreRequests(*context.model, requests, context.Scoring("wikitext")));
  std::vector<double> page_scores(pages.size());
  double sum = 0;
  for (size_t i = 0; i < scores.size(); ++i) {
    page_scores[page_of[i]] += scores[i].log_likelihood;
    sum += scores[i].log_likelihood;
  }
  const auto add = [&](const char* metric, double score) {
    outcome.scores.push_back(HarnessScore(context, "wikitext", metric, score, kNone,
                                          static_cast<int64_t>(pages.size()), false));
  };
  add("word_perplexity", std::exp(-sum / words));
  add("byte_perplexity", std::exp(-sum / bytes));
  add("bits_per_byte", -sum / bytes / std::numbers::ln2);
  outcome.scores[0].per_example = std::move(page_scores);
  return outcome;
}

absl::StatusOr<TaskOutcome> WikitextTokensTask(const EvalContext& context) {
  TaskOutcome outcome;
  ATTNLAB_ASSIGN_OR_RETURN(const HarnessEncoder encoder, MakeEncoder(context));
  ATTNLAB_ASSIGN_OR_RETURN(const std::string raw, ReadTaskFile(context, kFile, outcome));
  const std::vector<int32_t> tokens = encoder.Encode(WikitextJoined(raw));
  const int64_t length = context.MaxLength();
  const int64_t windows = Limited(static_cast<int64_t>(tokens.size()) / length, context.limit);
  if (windows < 1 || length < 2) {
    return absl::InvalidArgumentError(absl::StrCat(kFile, " has ", tokens.size(),
                                                   " tokens, less than one window of ", length,
                                                   "; choose a smaller --max-length"));
  }
  std::vector<ScoreRequest> requests;
  for (int64_t i = 0; i < windows; ++i) {
    const auto begin = tokens.begin() + i * length;
    requests.push_back({{*begin}, std::vector<int32_t>(begin + 1, begin + length)});
  }
  ATTNLAB_ASSIGN_OR_RETURN(
      const std::vector<Score> scores,
      ScoreRequests(*context.model, requests, context.Scoring("wikitext_tokens")));
  std::vector<double> losses;
  for (const Score& score : scores) {
    losses.push_back(-score.log_likelihood / static_cast<double>(length - 1));
  }
  EvalScore score = HarnessScore(context, "wikitext_tokens", "perplexity", std::exp(Mean(losses)),
                                 kNone, windows, false);
  score.harness = absl::StrCat("GPTQ, windows of ", length, " tokens");
  score.per_example = std::move(losses);
  outcome.scores.push_back(std::move(score));
  return outcome;
}

}  // namespace attnlab
