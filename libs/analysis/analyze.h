// Runs a model over held-out sequences with an AnalysisProbe.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "libs/analysis/probe.h"
#include "libs/data/batch_source.h"
#include "libs/model/transformer.h"

namespace attnlab {

// Measures the inputs of the first `sequences` held-out sequences of `source` (all when it has
// fewer), cut to `length` tokens (0: whole). Where the source tells the role "bigram"
// (Bigram-Backcopy), the queries of that role from position 8 on are the selected ones: those that
// have nothing to copy. `forward.probe` is replaced. FailedPrecondition when there is no held-out
// sequence.
absl::StatusOr<AnalysisReport> Analyze(BatchSource& source, const Transformer& model,
                                       int64_t sequences, int64_t length,
                                       const AnalysisOptions& options, ForwardOptions forward = {});

}  // namespace attnlab
