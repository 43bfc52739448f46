#include "libs/eval/held_out.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "absl/strings/str_cat.h"
#include "libs/core/status.h"
#include "libs/eval/statistics.h"

namespace attnlab {
namespace {

// The losses of the first `rows` sequences: [rows, T] float64 on the CPU.
at::Tensor Losses(const Transformer& model, const TokenBatch& batch, int64_t rows,
                  const ForwardOptions& forward) {
  std::vector<int64_t> tokens(batch.tokens.begin(), batch.tokens.begin() + rows * batch.columns);
  const at::Tensor all =
      at::from_blob(tokens.data(), {rows, batch.columns}, at::TensorOptions().dtype(at::kLong))
          .clone()
          .to(model.device());
  const int64_t length = batch.columns - 1;
  return model.TokenLoss(all.narrow(1, 0, length), all.narrow(1, 1, length), forward)
      .to(at::TensorOptions().device(at::kCPU).dtype(at::kDouble))
      .contiguous();
}

}  // namespace

absl::StatusOr<HeldOutScore> ScoreHeldOut(BatchSource& source, const Transformer& model,
                                          int64_t limit, const ForwardOptions& forward,
                                          Progress* progress) {
  const c10::AutoGradMode no_gradient(false);
  HeldOutScore score;
  for (const Role& role : source.roles()) score.roles.push_back({role.name, 0, role.entropy, 0});
  std::vector<double> means;
  for (int64_t index = 0; index < source.validation_batches(); ++index) {
    ATTNLAB_ASSIGN_OR_RETURN(const TokenBatch batch, source.Validation(index));
    const int64_t done = static_cast<int64_t>(means.size());
    const int64_t rows = limit > 0 ? std::min(batch.rows, limit - done) : batch.rows;
    if (rows <= 0) break;
    const int64_t length = batch.columns - 1;
    const at::Tensor losses = Losses(model, batch, rows, forward);
    const double* values = losses.const_data_ptr<double>();
    for (int64_t row = 0; row < rows; ++row, values += length) {
      double sum = 0;
      for (int64_t i = 0; i < length; ++i) {
        sum += values[i];
        if (batch.roles.empty()) continue;
        RoleScore& role = score.roles[batch.roles[row * length + i]];
        role.loss += values[i];
        ++role.tokens;
      }
      means.push_back(sum / static_cast<double>(length));
    }
    score.tokens += rows * length;
    if (progress != nullptr) progress->Update(static_cast<int64_t>(means.size()));
  }
  if (means.empty()) {
    return absl::FailedPreconditionError("there are no held-out sequences; give held-out data");
  }
  score.sequences = static_cast<int64_t>(means.size());
  score.loss = Mean(means);
  score.standard_error = StandardError(means);
  std::erase_if(score.roles, [](const RoleScore& role) { return role.tokens == 0; });
  for (RoleScore& role : score.roles) role.loss /= static_cast<double>(role.tokens);
  if (source.validation_bytes_per_token() > 0) {
    score.bits_per_byte = score.loss / std::numbers::ln2 / source.validation_bytes_per_token();
  }
  return score;
}

}  // namespace attnlab
