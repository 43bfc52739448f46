#include "libs/train/trainer.h"

#include <ATen/core/Tensor.h>

#include <chrono>
#include <cmath>
#include <memory>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "libs/core/log.h"
#include "libs/core/progress.h"
#include "libs/core/status.h"
#include "libs/data/batch_source.h"
#include "libs/eval/held_out.h"
#include "libs/io/result_names.h"
#include "libs/io/results.h"
#include "libs/model/model_io.h"
#include "libs/model/runtime.h"
#include "libs/model/transformer.h"
#include "libs/recipe/recipe.h"
#include "libs/train/checkpoint.h"
#include "libs/train/measure.h"
#include "libs/train/run_folder.h"
#include "libs/train/stop_signal.h"

namespace attnlab {
namespace {

// Steps in a row without a finite gradient after which a run is given up.
constexpr int64_t kHopeless = 20;

class Trainer {
 public:
  Trainer(const RunConfig& config, const TrainOptions& options, RunFolder& folder)
      : config_(config), options_(options), folder_(folder) {}

  absl::Status Prepare();
  absl::Status Run();

  // Marks the record as failed, with every row that was measured.
  void GiveUp() {
    if (results_ != nullptr) results_->Finish("failed").IgnoreError();
  }

 private:
  absl::Status Restore(const std::string& checkpoint);
  absl::Status OpenResults(int64_t keep_steps_up_to);  // rows of later steps are dropped
  absl::Status CreateResults();
  absl::Status Step();
  absl::StatusOr<HeldOutScore> Validate();
  absl::Status Analyse(bool final);
  absl::Status Save();
  absl::Status Complete();

  bool Due(int64_t every) const {
    return every > 0 && state_.step % every == 0 && state_.step < config_.train.steps;
  }

  const RunConfig& config_;
  const TrainOptions& options_;
  RunFolder& folder_;

  at::Device device_ = at::kCPU;
  ForwardOptions forward_;
  std::unique_ptr<BatchSource> source_;
  std::optional<Transformer> model_;
  std::optional<AdamW> optimizer_;
  std::unique_ptr<ResultsWriter> results_;
  TrainState state_;
  int64_t nonfinite_in_a_row_ = 0;
  double loss_ = 0;  // of the last step
};

absl::Status Trainer::Prepare() {
  ATTNLAB_ASSIGN_OR_RETURN(device_, ParseDevice(config_.device));
  SetThreads(config_.threads);
  SetDeterministic(config_.deterministic);
  forward_.bfloat16 = config_.precision == "bfloat16";

  ATTNLAB_ASSIGN_OR_RETURN(source_, OpenBatchSource(config_.data, config_.seed));
  if (source_->vocab_size() > config_.model.vocab_size) {
    return absl::InvalidArgumentError(absl::StrCat("model.vocab_size is ", config_.model.vocab_size,
                                                   "; the data needs ", source_->vocab_size()));
  }
  ATTNLAB_ASSIGN_OR_RETURN(Transformer model,
                           Transformer::Create(config_.model, config_.seed, device_));
  model_.emplace(std::move(model));
  state_.seed = config_.seed;
  state_.data_fingerprint = source_->tokenizer_fingerprint();

  optimizer_.emplace(config_.optimizer, model_->NamedParameters());
  const std::optional<std::string> checkpoint = NewestCheckpoint(folder_.path());
  if (checkpoint.has_value()) {
    ATTNLAB_RETURN_IF_ERROR(Restore(*checkpoint));
    LogInfo(absl::StrCat("resuming ", folder_.path(), " at step ", state_.step));
  }
  return OpenResults(/*keep_steps_up_to=*/checkpoint.has_value() ? state_.step : -1);
}

absl::Status Trainer::Restore(const std::string& checkpoint) {
  const auto mend = [&](const absl::Status& status) {
    if (status.ok()) return status;
    return absl::Status(status.code(), absl::StrCat(status.message(), "; remove ", checkpoint,
                                                    " to go on from what stands before it"));
  };
  const absl::StatusOr<TrainState> state = LoadTrainState(checkpoint);
  ATTNLAB_RETURN_IF_ERROR(mend(state.status()));
  if (state->data_fingerprint != state_.data_fingerprint) {
    return absl::FailedPreconditionError(
        absl::StrCat(checkpoint, " was trained with another tokenizer than ", config_.data.source,
                     " has; put the data back"));
  }
  ATTNLAB_RETURN_IF_ERROR(mend(LoadCheckpoint(checkpoint, *model_, *optimizer_)));
  state_ = *state;
  return absl::OkStatus();
}

absl::Status Trainer::OpenResults(int64_t keep_steps_up_to) {
  if (folder_.stage() == RunStage::kUnfinished) {
    ATTNLAB_ASSIGN_OR_RETURN(results_,
                             ResultsWriter::Reopen(folder_.results_path(), keep_steps_up_to));
  } else {
    ATTNLAB_RETURN_IF_ERROR(CreateResults());
  }
  results_->Declare(names::kTrainLoss, {.unit = "nats", .reduction = "mean", .better = "lower"});
  results_->Declare(names::kValidationLoss,
                    {.unit = "nats", .reduction = "mean", .better = "lower"});
  results_->Declare(names::kLearningRate, {.reduction = "last"});
  results_->Declare(names::kGradientNorm, {.reduction = "last"});
  results_->Declare(names::kTokensPerSecond,
                    {.unit = "tokens/s", .reduction = "mean", .better = "higher"});
  for (const Role& role : source_->roles()) {
    results_->Declare(absl::StrCat(role.name, "_loss"), {.unit = "nats",
                                                         .reduction = "mean",
                                                         .better = "lower",
                                                         .target = role.entropy,
                                                         .target_name = "entropy"});
  }
  return results_->Flush();
}

absl::Status Trainer::CreateResults() {
  Provenance provenance = MachineProvenance(device_, options_.command_line);
  provenance.seed = config_.seed;
  provenance.parameters = ParameterCount(config_.model);
  provenance.recipe = DumpToml(config_);
  provenance.inputs = source_->inputs();
  ATTNLAB_ASSIGN_OR_RETURN(
      results_, ResultsWriter::Create(
                    folder_.results_path(),
                    RunInfo{"train", config_.name, config_.model.attention.weighting}, provenance));
  return absl::OkStatus();
}

absl::Status Trainer::Run() {
  const int64_t steps = config_.train.steps;
  const double step_tokens = static_cast<double>(config_.data.batch * config_.data.sequence_length);
  if (state_.step == 0) {
    ATTNLAB_RETURN_IF_ERROR(Validate().status());
    ATTNLAB_RETURN_IF_ERROR(Analyse(/*final=*/false));
  }
  Progress progress(folder_.path(), steps, "steps", state_.step);
  auto logged_at = std::chrono::steady_clock::now();
  int64_t logged_step = state_.step;
  while (state_.step < steps) {
    ATTNLAB_RETURN_IF_ERROR(Step());
    if (Due(config_.train.log_every) || state_.step == steps) {
      const auto now = std::chrono::steady_clock::now();
      const double rate = step_tokens * static_cast<double>(state_.step - logged_step) /
                          std::chrono::duration<double>(now - logged_at).count();
      results_->Append(names::kTokensPerSecond, state_.step, rate);
      ATTNLAB_RETURN_IF_ERROR(results_->Flush());
      progress.Update(state_.step,
                      absl::StrFormat("loss %.4f  %s tokens/s", loss_, FormatCount(rate)));
    }
    if (Due(config_.train.validate_every)) ATTNLAB_RETURN_IF_ERROR(Validate().status());
    if (Due(config_.analysis.every)) ATTNLAB_RETURN_IF_ERROR(Analyse(/*final=*/false));
    if (Due(config_.train.checkpoint_every)) ATTNLAB_RETURN_IF_ERROR(Save());
    if (Due(config_.train.log_every)) {
      // What stands between two log lines does not count in the rate.
      logged_at = std::chrono::steady_clock::now();
      logged_step = state_.step;
    }
    if (StopRequested() && state_.step < steps) {
      ATTNLAB_RETURN_IF_ERROR(Save());
      return absl::CancelledError(absl::StrCat("stopped at step ", state_.step, " of ",
                                               folder_.path(), "; go on with --resume"));
    }
  }
  progress.Finish();
  return Complete();
}

// One optimizer step: gradients of the mean loss over the batch, summed over micro-batches.
absl::Status Trainer::Step() {
  ATTNLAB_ASSIGN_OR_RETURN(const TokenBatch batch, source_->Train(state_.step));
  const DeviceBatch tokens = ToDevice(batch, device_);
  const int64_t micro = config_.train.micro_batch > 0 ? config_.train.micro_batch : batch.rows;
  const double scale = 1.0 / static_cast<double>(batch.rows * (batch.columns - 1));
  optimizer_->ZeroGrad();
  at::Tensor total;
  for (int64_t row = 0; row < batch.rows; row += micro) {
    const at::Tensor loss = model_
                                ->TokenLoss(tokens.inputs.narrow(0, row, micro),
                                            tokens.targets.narrow(0, row, micro), forward_)
                                .sum()
                                .mul(scale);
    loss.backward();
    total = total.defined() ? total.add(loss.detach()) : loss.detach();
  }
  const double rate = LearningRate(config_.schedule, state_.step, config_.train.steps);
  const StepResult result = optimizer_->Step(rate);
  loss_ = total.item<double>();
  ++state_.step;
  results_->Append(names::kTrainLoss, state_.step, loss_);
  results_->Append(names::kLearningRate, state_.step, rate);
  results_->Append(names::kGradientNorm, state_.step, result.gradient_norm);

  const bool finite = std::isfinite(loss_) && std::isfinite(result.gradient_norm);
  if (!result.applied) ++state_.skipped;
  nonfinite_in_a_row_ = finite ? 0 : nonfinite_in_a_row_ + 1;
  if (finite || (config_.optimizer.skip_nonfinite && nonfinite_in_a_row_ < kHopeless)) {
    return absl::OkStatus();
  }
  return absl::InternalError(absl::StrCat(
      folder_.path(), ": the loss or its gradient is not finite at step ", state_.step,
      nonfinite_in_a_row_ > 1 ? absl::StrCat(" and the ", nonfinite_in_a_row_ - 1, " before") : "",
      "; lower schedule.peak or optimizer.clip and start a new run"));
}

absl::StatusOr<HeldOutScore> Trainer::Validate() {
  ATTNLAB_ASSIGN_OR_RETURN(HeldOutScore score,
                           ScoreHeldOut(*source_, *model_, /*limit=*/0, forward_));
  results_->Append(names::kValidationLoss, state_.step, score.loss);
  for (const RoleScore& role : score.roles) {
    results_->Append(absl::StrCat(role.name, "_loss"), state_.step, role.loss);
  }
  return score;
}

absl::Status Trainer::Analyse(bool final) {
  if (config_.analysis.sequences == 0) return absl::OkStatus();
  return MeasureAttention(*source_, *model_, forward_, config_.analysis, state_.step, final,
                          *results_);
}

absl::Status Trainer::Save() {
  ATTNLAB_RETURN_IF_ERROR(results_->Flush());  // a checkpoint's rows are on the disk before it
  return SaveCheckpoint(folder_.path(), state_, *model_, *optimizer_,
                        config_.train.keep_checkpoints);
}

absl::Status Trainer::Complete() {
  ATTNLAB_RETURN_IF_ERROR(Save());
  ATTNLAB_ASSIGN_OR_RETURN(const HeldOutScore held_out, Validate());
  RecordHeldOut(held_out, *results_);
  ATTNLAB_RETURN_IF_ERROR(Analyse(/*final=*/true));
  ATTNLAB_RETURN_IF_ERROR(SaveRunModel(*model_, *source_, folder_.model_path()));
  ATTNLAB_RETURN_IF_ERROR(results_->Finish("finished"));
  RemoveCheckpoints(folder_.path());
  LogInfo(absl::StrFormat(
      "%s: %d steps, held-out loss %.4f nats%s", folder_.path(), state_.step, held_out.loss,
      state_.skipped > 0 ? absl::StrCat(", ", state_.skipped, " steps skipped (not finite)") : ""));
  return absl::OkStatus();
}

}  // namespace

absl::Status Train(const RunConfig& config, const TrainOptions& options) {
  ATTNLAB_RETURN_IF_ERROR(Validate(config));
  ATTNLAB_ASSIGN_OR_RETURN(const std::unique_ptr<RunFolder> folder,
                           RunFolder::Open(options.out, DumpToml(config), options.resume));
  if (folder->stage() == RunStage::kFinished) {
    RemoveCheckpoints(options.out);
    LogInfo(absl::StrCat(options.out, " is finished; nothing to do"));
    return absl::OkStatus();
  }
  Trainer trainer(config, options, *folder);
  ATTNLAB_RETURN_IF_ERROR(trainer.Prepare());
  const absl::Status status = trainer.Run();
  // What is lost for lack of space or by a signal can go on; a loss that is not finite cannot.
  if (absl::IsInternal(status)) trainer.GiveUp();
  return status;
}

}  // namespace attnlab
