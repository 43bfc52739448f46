// Multiple choice, zero-shot, as lm-evaluation-harness asks it: each choice is a continuation of
// the context; acc takes the most likely one, acc_norm the one with the largest log-likelihood per
// character (code points of the choice without the space before it).
#include <algorithm>
#include <cctype>
#include <limits>

#include "absl/strings/str_cat.h"
#include "libs/core/status.h"
#include "libs/eval/json_lines.h"
#include "libs/eval/python_text.h"
#include "libs/eval/statistics.h"
#include "libs/eval/task_list.h"

namespace attnlab {
namespace {

// A question. Every choice continues contexts[0], or each the context of its own.
struct ChoiceDocument {
  std::vector<std::string> contexts;
  std::vector<std::string> choices;  // without the space that separates them from the context
  int64_t gold = 0;
};

using Reader = absl::StatusOr<ChoiceDocument> (*)(JsonRef document);

absl::StatusOr<std::string> Text(JsonRef value) {
  ATTNLAB_ASSIGN_OR_RETURN(const absl::string_view text, value.String());
  return std::string(text);
}

// choices.text, and the index of answerKey in choices.label.
absl::StatusOr<ChoiceDocument> ReadLabelled(JsonRef document, std::string context) {
  ChoiceDocument result;
  result.contexts.push_back(std::move(context));
  ATTNLAB_ASSIGN_OR_RETURN(result.choices, document["choices"]["text"].Strings());
  ATTNLAB_ASSIGN_OR_RETURN(const std::vector<std::string> labels,
                           document["choices"]["label"].Strings());
  ATTNLAB_ASSIGN_OR_RETURN(const std::string answer, Text(document["answerKey"]));
  const auto gold = std::find(labels.begin(), labels.end(), answer);
  if (gold == labels.end()) return document.Error("answerKey is none of the labels");
  result.gold = gold - labels.begin();
  return result;
}

absl::StatusOr<ChoiceDocument> ReadArc(JsonRef document) {
  ATTNLAB_ASSIGN_OR_RETURN(const std::string question, Text(document["question"]));
  return ReadLabelled(document, absl::StrCat("Question: ", question, "\nAnswer:"));
}

absl::StatusOr<ChoiceDocument> ReadOpenbookqa(JsonRef document) {
  ATTNLAB_ASSIGN_OR_RETURN(std::string stem, Text(document["question_stem"]));
  return ReadLabelled(document, std::move(stem));
}

absl::StatusOr<ChoiceDocument> ReadPiqa(JsonRef document) {
  ChoiceDocument result;
  ATTNLAB_ASSIGN_OR_RETURN(const std::string goal, Text(document["goal"]));
  result.contexts.push_back(absl::StrCat("Question: ", goal, "\nAnswer:"));
  for (const char* key : {"sol1", "sol2"}) {
    ATTNLAB_ASSIGN_OR_RETURN(std::string choice, Text(document[key]));
    result.choices.push_back(std::move(choice));
  }
  ATTNLAB_ASSIGN_OR_RETURN(result.gold, document["label"].Integer());
  return result;
}

absl::StatusOr<ChoiceDocument> ReadSciq(JsonRef document) {
  ChoiceDocument result;
  ATTNLAB_ASSIGN_OR_RETURN(const std::string support, Text(document["support"]));
  ATTNLAB_ASSIGN_OR_RETURN(const std::string question, Text(document["question"]));
  result.contexts.push_back(
      absl::StrCat(python::LStrip(support), "\nQuestion: ", question, "\nAnswer:"));
  for (const char* key : {"distractor1", "distractor2", "distractor3", "correct_answer"}) {
    ATTNLAB_ASSIGN_OR_RETURN(std::string choice, Text(document[key]));
    result.choices.push_back(std::move(choice));
  }
  result.gold = 3;
  return result;
}

// Documents whose query and endings went through the harness's clean-up already.
absl::StatusOr<ChoiceDocument> ReadHellaswag(JsonRef document) {
  ChoiceDocument result;
  ATTNLAB_ASSIGN_OR_RETURN(std::string query, Text(document["query"]));
  result.contexts.push_back(std::move(query));
  ATTNLAB_ASSIGN_OR_RETURN(result.choices, document["endings"].Strings());
  ATTNLAB_ASSIGN_OR_RETURN(result.gold, document["label"].Integer());
  return result;
}

// The sentence is cut at its blank "_": contexts differ in the option, the continuation is the
// rest.
absl::StatusOr<ChoiceDocument> ReadWinogrande(JsonRef document) {
  ChoiceDocument result;
  ATTNLAB_ASSIGN_OR_RETURN(const std::string sentence, Text(document["sentence"]));
  const size_t blank = sentence.find('_');
  if (blank == sentence.npos) return document.Error("the sentence has no blank \"_\"");
  for (const char* key : {"option1", "option2"}) {
    ATTNLAB_ASSIGN_OR_RETURN(const std::string option, Text(document[key]));
    result.contexts.push_back(absl::StrCat(sentence.substr(0, blank), option));
    const absl::string_view rest = absl::string_view(sentence).substr(blank + 1);
    result.choices.emplace_back(python::Strip(rest));
  }
  ATTNLAB_ASSIGN_OR_RETURN(const absl::string_view answer, document["answer"].String());
  if (answer != "1" && answer != "2") return document.Error("answer must be \"1\" or \"2\"");
  result.gold = answer == "1" ? 0 : 1;
  return result;
}

absl::StatusOr<ChoiceDocument> ReadBoolq(JsonRef document) {
  ChoiceDocument result;
  ATTNLAB_ASSIGN_OR_RETURN(const std::string passage, Text(document["passage"]));
  ATTNLAB_ASSIGN_OR_RETURN(const std::string question, Text(document["question"]));
  result.contexts.push_back(absl::StrCat(passage, "\nQuestion: ", question, "?\nAnswer:"));
  result.choices = {"no", "yes"};
  ATTNLAB_ASSIGN_OR_RETURN(result.gold, document["label"].Integer());
  return result;
}

// The harness puts a second space before each choice here.
absl::StatusOr<ChoiceDocument> ReadCopa(JsonRef document) {
  ChoiceDocument result;
  ATTNLAB_ASSIGN_OR_RETURN(const std::string premise, Text(document["premise"]));
  ATTNLAB_ASSIGN_OR_RETURN(const std::string question, Text(document["question"]));
  absl::string_view stem = python::Strip(premise);
  if (!stem.empty()) stem.remove_suffix(1);
  result.contexts.push_back(absl::StrCat(stem, question == "cause" ? " because" : " therefore"));
  for (const char* key : {"choice1", "choice2"}) {
    ATTNLAB_ASSIGN_OR_RETURN(std::string choice, Text(document[key]));
    if (!choice.empty()) choice[0] = static_cast<char>(std::tolower(choice[0]));
    result.choices.push_back(absl::StrCat(" ", choice));
  }
  ATTNLAB_ASSIGN_OR_RETURN(result.gold, document["label"].Integer());
  return result;
}

struct ChoiceTask {
  const char* name;
  const char* file;
  Reader reader;
  bool per_length;
};

absl::Status Check(const ChoiceDocument& document, JsonRef source) {
  if (document.choices.size() < 2) return source.Error("fewer than two choices");
  if (document.gold < 0 || document.gold >= static_cast<int64_t>(document.choices.size())) {
    return source.Error("the answer is none of the choices");
  }
  for (const std::string& choice : document.choices) {
    if (choice.empty()) return source.Error("an empty choice");
  }
  return absl::OkStatus();
}

// The first of the largest values.
int64_t ArgMax(absl::Span<const double> values) {
  return std::max_element(values.begin(), values.end()) - values.begin();
}

struct Accuracy {
  std::vector<double> plain, per_length;  // 1 where right
};

Accuracy Judge(const std::vector<ChoiceDocument>& documents, const std::vector<Score>& scores) {
  Accuracy accuracy;
  size_t next = 0;
  for (const ChoiceDocument& document : documents) {
    std::vector<double> plain, per_length;
    for (const std::string& choice : document.choices) {
      const double log_likelihood = scores[next++].log_likelihood;
      plain.push_back(log_likelihood);
      per_length.push_back(log_likelihood / static_cast<double>(python::Length(choice)));
    }
    accuracy.plain.push_back(ArgMax(plain) == document.gold);
    accuracy.per_length.push_back(ArgMax(per_length) == document.gold);
  }
  return accuracy;
}

absl::StatusOr<TaskOutcome> RunChoiceTask(const ChoiceTask& task, const EvalContext& context) {
  TaskOutcome outcome;
  ATTNLAB_ASSIGN_OR_RETURN(const HarnessEncoder encoder, MakeEncoder(context));
  ATTNLAB_ASSIGN_OR_RETURN(const std::string lines, ReadTaskFile(context, task.file, outcome));
  std::vector<ChoiceDocument> documents;
  std::vector<ScoreRequest> requests;
  ATTNLAB_RETURN_IF_ERROR(ForEachJsonLine(
      lines, outcome.inputs[0].path, context.limit, [&](JsonRef line) -> absl::Status {
        ATTNLAB_ASSIGN_OR_RETURN(ChoiceDocument document, task.reader(line));
        ATTNLAB_RETURN_IF_ERROR(Check(document, line));
        for (size_t i = 0; i < document.choices.size(); ++i) {
          const std::string& own = document.contexts[document.contexts.size() > 1 ? i : 0];
          auto [head, tail] = encoder.EncodePair(own, absl::StrCat(" ", document.choices[i]));
          requests.push_back({std::move(head), std::move(tail)});
        }
        documents.push_back(std::move(document));
        return absl::OkStatus();
      }));
  ATTNLAB_ASSIGN_OR_RETURN(const std::vector<Score> scores,
                           ScoreRequests(*context.model, requests, context.Scoring(task.name)));
  Accuracy accuracy = Judge(documents, scores);
  const auto add = [&](const char* metric, std::vector<double>& hits) {
    EvalScore score = HarnessScore(context, task.name, metric, Mean(hits), StandardError(hits),
                                   static_cast<int64_t>(hits.size()), true);
    score.per_example = std::move(hits);
    outcome.scores.push_back(std::move(score));
  };
  add("acc", accuracy.plain);
  if (task.per_length) add("acc_norm", accuracy.per_length);
  return outcome;
}

}  // namespace

std::vector<EvalTask> ChoiceTasks() {
  return {
#define ATTNLAB_TASK(name, function, help)
#define ATTNLAB_HELD_OUT_TASK(name, function, help)
#define ATTNLAB_CHOICE_TASK(name, file, reader, per_length, help)      \
  {#name,                                                              \
   [](const EvalContext& context) {                                    \
     return RunChoiceTask({#name, file, reader, per_length}, context); \
   },                                                                  \
   help},
#include "libs/eval/tasks.def"
#undef ATTNLAB_TASK
#undef ATTNLAB_HELD_OUT_TASK
#undef ATTNLAB_CHOICE_TASK
  };
}

}  // namespace attnlab
