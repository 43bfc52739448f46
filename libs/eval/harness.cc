#include "libs/eval/harness.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "libs/core/check.h"
#include "libs/core/progress.h"
#include "libs/core/status.h"
#include "libs/eval/python_text.h"

namespace attnlab {
namespace {

constexpr int64_t kLogitEntries = int64_t{1} << 26;  // held at once where arg-maxima are wanted

// One request as the model sees it: `inputs`, of which the last `scored` predict `targets`.
struct Row {
  size_t request;
  std::vector<int32_t> inputs;
  std::vector<int32_t> targets;
};

Row MakeRow(size_t index, const ScoreRequest& request, int64_t max_length) {
  std::vector<int32_t> all = request.context;
  all.insert(all.end(), request.continuation.begin(), request.continuation.end());
  const int64_t excess = static_cast<int64_t>(all.size()) - (max_length + 1);
  if (excess > 0) all.erase(all.begin(), all.begin() + excess);
  Row row;
  row.request = index;
  row.inputs.assign(all.begin(), all.end() - 1);
  const size_t scored = std::min(request.continuation.size(), row.inputs.size());
  row.targets.assign(request.continuation.end() - static_cast<int64_t>(scored),
                     request.continuation.end());
  return row;
}

// Rows [begin, end) side by side, padded on the right: [rows, columns] int64.
struct Batch {
  at::Tensor inputs, targets;  // padding: input 0, target -1
};

Batch Pad(absl::Span<const Row> rows, int64_t columns, at::Device device) {
  std::vector<int64_t> inputs(rows.size() * columns, 0), targets(rows.size() * columns, -1);
  for (size_t i = 0; i < rows.size(); ++i) {
    const Row& row = rows[i];
    std::copy(row.inputs.begin(), row.inputs.end(), inputs.begin() + i * columns);
    const size_t first = i * columns + row.inputs.size() - row.targets.size();
    std::copy(row.targets.begin(), row.targets.end(), targets.begin() + first);
  }
  const auto tensor = [&](std::vector<int64_t>& values) {
    return at::from_blob(values.data(), {static_cast<int64_t>(rows.size()), columns},
                         at::TensorOptions().dtype(at::kLong))
        .clone()
        .to(device);
  };
  return {tensor(inputs), tensor(targets)};
}

// Whether each target of a row is the arg-max of its logits: [rows].
std::vector<bool> AreGreedy(const Transformer& model, const Batch& batch,
                            const ForwardOptions& forward) {
  const int64_t columns = batch.inputs.size(1);
  const int64_t step = std::max<int64_t>(1, kLogitEntries / (columns * model.config().vocab_size));
  std::vector<bool> greedy;
  for (int64_t first = 0; first < batch.inputs.size(0); first += step) {
    const int64_t rows = std::min(step, batch.inputs.size(0) - first);
    const at::Tensor targets = batch.targets.narrow(0, first, rows);
    const at::Tensor best = model.Logits(batch.inputs.narrow(0, first, rows), forward).argmax(-1);
    const at::Tensor agree = best.eq(targets).logical_or(targets.lt(0)).all(-1).cpu();
    for (int64_t i = 0; i < rows; ++i) greedy.push_back(agree[i].item<bool>());
  }
  return greedy;
}

absl::Status CheckRequests(const std::vector<ScoreRequest>& requests, int64_t vocab_size) {
  for (const ScoreRequest& request : requests) {
    if (request.context.empty() || request.continuation.empty()) {
      return absl::InvalidArgumentError(
          "a document has a context or a continuation without a token of its own; mend or remove "
          "documents with empty or blank texts");
    }
    for (const std::vector<int32_t>* part : {&request.context, &request.continuation}) {
      for (int32_t token : *part) {
        if (token >= 0 && token < vocab_size) continue;
        return absl::InvalidArgumentError(absl::StrCat(
            "the tokenizer gives id ", token, ", but the model's vocabulary has ", vocab_size,
            " tokens; evaluate the model with the tokenizer that it was trained with"));
      }
    }
  }
  return absl::OkStatus();
}

absl::Status ScoreBatch(const Transformer& model, absl::Span<const Row> rows, bool want_greedy,
                        const ForwardOptions& forward, std::vector<Score>& scores) {
  const int64_t columns = static_cast<int64_t>(rows[0].inputs.size());
  const Batch batch = Pad(rows, columns, model.device());
  const at::Tensor losses =
      model.TokenLoss(batch.inputs, batch.targets, forward).to(at::kDouble).sum(-1).cpu();
  std::vector<bool> greedy(rows.size());
  if (want_greedy) greedy = AreGreedy(model, batch, forward);
  for (size_t i = 0; i < rows.size(); ++i) {
    const double loss = losses.const_data_ptr<double>()[i];
    if (std::isnan(loss)) return absl::InternalError("the model's loss is not a number (NaN)");
    scores[rows[i].request] = {-loss, greedy[i]};
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ValidateHarness(const std::string& version) {
  if (version == kHarnessPlain || version == kHarnessTokenizerDefault) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("no rules of harness version \"", version, "\"; use ", kHarnessPlain,
                   " (and before: text without BOS) or ", kHarnessTokenizerDefault,
                   " (and later: BOS where the tokenizer adds one)"));
}

HarnessEncoder::HarnessEncoder(const Tokenizer& tokenizer, const std::string& version)
    : tokenizer_(tokenizer),
      adds_bos_(version == kHarnessTokenizerDefault && tokenizer.kind() == "sentencepiece" &&
                tokenizer.bos_id() >= 0),
      prefix_(tokenizer.bos_id() >= 0 ? tokenizer.bos_id() : tokenizer.eos_id()) {}

std::vector<int32_t> HarnessEncoder::Encode(absl::string_view text) const {
  std::vector<int32_t> ids;
  if (adds_bos_) ids.push_back(tokenizer_.bos_id());
  tokenizer_.Encode(text, ids);
  return ids;
}

std::pair<std::vector<int32_t>, std::vector<int32_t>> HarnessEncoder::EncodePair(
    absl::string_view context, absl::string_view continuation) const {
  if (context.empty()) return {{prefix_}, tokenizer_.Encode(continuation)};
  const absl::string_view stripped = python::RStrip(context);
  const std::string whole = absl::StrCat(context, continuation);
  std::vector<int32_t> head = Encode(stripped), all = Encode(whole);
  const size_t cut = std::min(head.size(), all.size());
  return {std::move(head),
          std::vector<int32_t>(all.begin() + static_cast<int64_t>(cut), all.end())};
}

std::vector<ScoreRequest> RollingRequests(const std::vector<int32_t>& tokens, int32_t prefix,
                                          int64_t max_length) {
  std::vector<ScoreRequest> requests;
  const int64_t size = static_cast<int64_t>(tokens.size());
  for (int64_t begin = 0; begin < size; begin += max_length) {
    const int64_t end = std::min(begin + max_length, size);
    ScoreRequest& request = requests.emplace_back();
    if (begin == 0) {
      request.context = {prefix};
    } else {
      request.context.assign(tokens.begin() + (end - max_length - 1), tokens.begin() + begin);
    }
    request.continuation.assign(tokens.begin() + begin, tokens.begin() + end);
  }
  return requests;
}

absl::StatusOr<std::vector<Score>> ScoreRequests(const Transformer& model,
                                                 const std::vector<ScoreRequest>& requests,
                                                 const ScoreOptions& options) {
  ATTNLAB_CHECK(options.max_length > 0);
  ATTNLAB_RETURN_IF_ERROR(CheckRequests(requests, model.config().vocab_size));
  const c10::AutoGradMode no_gradient(false);
  std::vector<Row> rows;
  for (size_t i = 0; i < requests.size(); ++i) {
    rows.push_back(MakeRow(i, requests[i], options.max_length));
  }
  std::stable_sort(rows.begin(), rows.end(),
                   [](const Row& a, const Row& b) { return a.inputs.size() > b.inputs.size(); });
  std::vector<Score> scores(requests.size());
  Progress progress(options.name, static_cast<int64_t>(rows.size()), "requests");
  for (size_t begin = 0; begin < rows.size();) {
    const size_t fit = std::max<size_t>(1, options.batch_tokens / rows[begin].inputs.size());
    const size_t end = std::min(begin + fit, rows.size());
    const absl::Span<const Row> batch = absl::MakeConstSpan(rows).subspan(begin, end - begin);
    const bool greedy = std::any_of(batch.begin(), batch.end(), [&](const Row& row) {
      return requests[row.request].want_greedy;
    });
    ATTNLAB_RETURN_IF_ERROR(ScoreBatch(model, batch, greedy, options.forward, scores));
    begin = end;
    progress.Update(static_cast<int64_t>(end));
  }
  return scores;
}

}  // namespace attnlab
