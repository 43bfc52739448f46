// LAMBADA (Paperno et al. 2016, arXiv:1606.06031), OpenAI's version: is the last word of a passage
// what the model says next, and how likely does it find it. perplexity = exp(-mean log p(word)).
#include <cmath>
#include <limits>

#include "libs/core/status.h"
#include "libs/eval/json_lines.h"
#include "libs/eval/statistics.h"
#include "libs/eval/task_list.h"

namespace attnlab {

absl::StatusOr<TaskOutcome> LambadaTask(const EvalContext& context) {
  TaskOutcome outcome;
  ATTNLAB_ASSIGN_OR_RETURN(const HarnessEncoder encoder, MakeEncoder(context));
  ATTNLAB_ASSIGN_OR_RETURN(const std::string lines,
                           ReadTaskFile(context, "lambada_openai.jsonl", outcome));
  std::vector<ScoreRequest> requests;
  ATTNLAB_RETURN_IF_ERROR(ForEachJsonLine(
      lines, outcome.inputs[0].path, context.limit, [&](JsonRef document) -> absl::Status {
        ATTNLAB_ASSIGN_OR_RETURN(const absl::string_view text, document["text"].String());
        const size_t space = text.rfind(' ');
        if (space == text.npos) return document.Error("the text has one word only");
        auto [head, tail] = encoder.EncodePair(text.substr(0, space), text.substr(space));
        requests.push_back({std::move(head), std::move(tail), true});
        return absl::OkStatus();
      }));
  ATTNLAB_ASSIGN_OR_RETURN(
      const std::vector<Score> scores,
      ScoreRequests(*context.model, requests, context.Scoring("lambada_openai")));
  std::vector<double> logs, hits;
  for (const Score& score : scores) {
    logs.push_back(score.log_likelihood);
    hits.push_back(score.greedy);
  }
  const int64_t n = static_cast<int64_t>(scores.size());
  outcome.scores.push_back(HarnessScore(context, "lambada_openai", "perplexity",
                                        std::exp(-Mean(logs)),
                                        std::numeric_limits<double>::quiet_NaN(), n, false));
  outcome.scores.push_back(
      HarnessScore(context, "lambada_openai", "acc", Mean(hits), StandardError(hits), n, true));
  outcome.scores[0].per_example = std::move(logs);
  outcome.scores[1].per_example = std::move(hits);
  return outcome;
}

}  // namespace attnlab
