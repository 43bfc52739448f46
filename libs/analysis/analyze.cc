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
constexpr int64_t kRows = 8;           // sequences a forward pass

// The index of the role "bigram"; -1 when the source has none.
int BigramRole(const BatchSource& source) {
  const std::vector<Role> roles = source.roles();
  const auto role = std::find_if(roles.begin(), roles.end(),
                                 [](const Role& other) { return other.name == "bigram"; });
  return role == roles.end() ? -1 : static_cast<int>(role - roles.begin());
}

// Sequences [first, first + rows) of `batch`, their first `columns` inputs.
AnalysisBatch Cut(const TokenBatch& batch, int64_t first, int64_t rows, int64_t columns,
                  int selected_role) {
  AnalysisBatch cut;
  cut.columns = columns;
  cut.lengths.assign(rows, columns);
  for (int64_t row = first; row < first + rows; ++row) {
    for (int64_t i = 0; i < columns; ++i) {
      cut.tokens.push_back(batch.tokens[row * batch.columns + i]);
      if (selected_role < 0 || batch.roles.empty()) continue;
      const uint8_t role = batch.roles[row * (batch.columns - 1) + i];
      cut.selected.push_back(role == selected_role && i >= kFirstSelected);
    }
  }
  return cut;
}

}  // namespace

absl::StatusOr<AnalysisReport> Analyze(BatchSource& source, const Transformer& model,
                                       int64_t sequences, int64_t length,
                                       const AnalysisOptions& options, ForwardOptions forward) {
  const c10::AutoGradMode no_gradient(false);
  AnalysisProbe probe(model.config(), options);
  forward.probe = &probe;
  const int selected_role = BigramRole(source);
  Progress progress("analysis", sequences, "sequences");
  int64_t done = 0;
  for (int64_t index = 0; index < source.validation_batches() && done < sequences; ++index) {
    ATTNLAB_ASSIGN_OR_RETURN(const TokenBatch batch, source.Validation(index));
    const int64_t whole = batch.columns - 1, columns = length > 0 ? std::min(length, whole) : whole;
    const int64_t end = std::min(batch.rows, sequences - done);
    for (int64_t first = 0; first < end; first += kRows) {
      AnalysisBatch cut = Cut(batch, first, std::min(kRows, end - first), columns, selected_role);
      const at::Tensor tokens =
          at::from_blob(cut.tokens.data(), {static_cast<int64_t>(cut.lengths.size()), columns},
                        at::TensorOptions().dtype(at::kInt))
              .to(at::TensorOptions().device(model.device()).dtype(at::kLong));
      probe.BeginBatch(std::move(cut));
      model.Hidden(tokens, forward);
      progress.Update(done + std::min(first + kRows, end));
    }
    done += end;
  }
  if (done == 0) {
    return absl::FailedPreconditionError(
        "there are no held-out sequences to analyse; give held-out data, or ask for no analysis");
  }
  return probe.Finish();
}

}  // namespace attnlab
