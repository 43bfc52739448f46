#include "apps/eval/output.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "libs/io/json.h"

namespace attnlab {
namespace {

using Rows = std::vector<std::vector<std::string>>;

// Columns as wide as their widest cell; the first `left` of them are flush left.
std::string Align(const Rows& rows, size_t left) {
  std::vector<size_t> widths;
  for (const std::vector<std::string>& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const std::vector<std::string>& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string pad(widths[i] - row[i].size(), ' ');
      absl::StrAppend(&line, i > 0 ? "  " : "", i < left ? row[i] + pad : pad + row[i]);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    absl::StrAppend(&text, line, "\n");
  }
  return text;
}

std::string Number(double value) {
  if (std::isnan(value)) return "-";
  const double size = std::abs(value);
  if (size == 0) return "0";
  return size >= 1e-2 && size < 1e8 ? absl::StrFormat("%.4f", value)
                                    : absl::StrFormat("%.4g", value);
}

Json JsonScore(const EvalScore& score) {
  Json object = Json::MakeObject();
  object.Set("task", score.task).Set("metric", score.metric).Set("score", score.score);
  object.Set("stderr", score.standard_error).Set("n", score.n).Set("n_shot", score.n_shot);
  return object.Set("higher_is_better", score.higher_is_better).Set("harness", score.harness);
}

Json JsonMetric(const Metric& metric) {
  Json object = Json::MakeObject();
  object.Set("value", metric.value).Set("label", metric.label).Set("unit", metric.unit);
  object.Set("T", metric.tokens).Set("n_sequences", metric.sequences);
  return object.Set("definition", metric.definition);
}

}  // namespace

std::string AsTable(const Evaluation& evaluation) {
  std::string text = absl::StrCat(evaluation.model, " (", evaluation.variant, ")\n");
  if (!evaluation.scores.empty()) {
    Rows rows = {{"task", "metric", "score", "stderr", "n"}};
    for (const EvalScore& score : evaluation.scores) {
      rows.push_back({score.task, score.metric, Number(score.score), Number(score.standard_error),
                      absl::StrCat(score.n)});
    }
    absl::StrAppend(&text, "\n", Align(rows, 2));
  }
  if (!evaluation.analysis.empty()) {
    Rows rows = {{"analysis", "what", "value"}};
    for (const auto& [name, metric] : evaluation.analysis) {
      rows.push_back({name, metric.label, Number(metric.value)});
    }
    absl::StrAppend(&text, "\n", Align(rows, 2));
  }
  return text;
}

std::string AsJson(const Evaluation& evaluation) {
  Json scores = Json::MakeArray(), analysis = Json::MakeObject();
  for (const EvalScore& score : evaluation.scores) scores.Append(JsonScore(score));
  for (const auto& [name, metric] : evaluation.analysis) analysis.Set(name, JsonMetric(metric));
  Json object = Json::MakeObject();
  object.Set("model", evaluation.model).Set("variant", evaluation.variant);
  object.Set("scores", std::move(scores));
  if (!evaluation.analysis.empty()) object.Set("analysis", std::move(analysis));
  return absl::StrCat(object.Dump(2), "\n");
}

}  // namespace attnlab
