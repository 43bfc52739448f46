#include "libs/analysis/analyze.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "libs/core/progress.h"
#include "libs/core/status.h"

namespace attnlab {
namespace {

constexpr int64_t kFirstSelected = 8;  // earlier queries have too few keys to look at

// The index of the role "bigram"; -1 when the source has none.
int BigramRole(const BatchSource& source) {
  const std::vector<Role> roles = source.roles();
  const auto role = std::find_if(roles.begin(), roles.end(),
                                 [](const Role& other) { return other.name == "bigram"; });
  return role == roles.end() ? -1 : static_cast<int>(role - roles.begin());
}

// The inputs of the first `rows` sequences of `batch`.
AnalysisBatch Inputs(const TokenBatch& batch, int64_t rows, int selected_role) {
  AnalysisBatch inputs;
  inputs.columns = batch.columns - 1;
  inputs.lengths.assign(rows, inputs.columns);
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t i = 0; i < inputs.columns; ++i) {
      inputs.tokens.push_back(batch.tokens[row * batch.columns + i]);
      if (selected_role < 0) continue;
      const uint8_t role = batch.roles[row * inputs.columns + i];
      inputs.selected.push_back(role == selected_role && i >= kFirstSelected);
    }
  }
  return inputs;
}

}  // namespace

absl::StatusOr<AnalysisReport> Analyze(const Transformer& model, BatchSource& source,
                                       int64_t sequences, const AnalysisOptions& options,
                                       ForwardOptions forward) {
  const c10::AutoGradMode no_gradient(false);
  AnalysisProbe probe(model.config(), options);
  forward.probe = &probe;
  const int selected_role = BigramRole(source);
  Progress progress("analysis", sequences, "sequences");
  int64_t done = 0;
  for (int64_t index = 0; index < source.validation_batches() && done < sequences; ++index) {
    ATTNLAB_ASSIGN_OR_RETURN(const TokenBatch batch, source.Validation(index));
    const int64_t rows = std::min(batch.rows, sequences - done);
    AnalysisBatch inputs = Inputs(batch, rows, batch.roles.empty() ? -1 : selected_role);
    const at::Tensor tokens = at::from_blob(inputs.tokens.data(), {rows, inputs.columns}, at::kInt)
                                  .to(at::TensorOptions().device(model.device()).dtype(at::kLong));
    probe.BeginBatch(std::move(inputs));
    model.Hidden(tokens, forward);
    done += rows;
    progress.Update(done);
  }
  if (done == 0) {
    return absl::FailedPreconditionError(
        "there are no held-out sequences to analyse; give validation data, or analysis.sequences "
        "= 0 to leave the analysis out");
  }
  return probe.Finish();
}

}  // namespace attnlab
