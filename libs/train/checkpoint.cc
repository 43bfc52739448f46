#include "libs/train/checkpoint.h"

#include <c10/core/GradMode.h>

#include <algorithm>
#include <filesystem>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "libs/core/files.h"
#include "libs/core/status.h"
#include "libs/io/json.h"
#include "libs/model/model_io.h"
#include "libs/model/tensor_io.h"

namespace attnlab {
namespace {

namespace fs = std::filesystem;

std::string CheckpointsOf(const std::string& run) { return run + "/checkpoints"; }

// Whole checkpoints of `run`, oldest first: names of eight digits or more sort by step.
std::vector<std::string> Checkpoints(const std::string& run) {
  std::vector<std::string> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(CheckpointsOf(run), error)) {
    const std::string name = entry.path().filename().string();
    if (absl::StartsWith(name, "step-") && !absl::EndsWith(name, ".tmp") &&
        fs::exists(entry.path() / "state.json", error)) {
      found.push_back(entry.path().string());
    }
  }
  std::sort(found.begin(), found.end());
  return found;
}

Json StateJson(const TrainState& state) {
  Json json = Json::MakeObject();
  json.Set("format", "attnlab-checkpoint")
      .Set("version", 1)
      .Set("step", state.step)
      .Set("seed", state.seed)
      .Set("skipped", state.skipped)
      .Set("data_fingerprint", state.data_fingerprint);
  return json;
}

}  // namespace

absl::Status SaveCheckpoint(const std::string& run, const TrainState& state,
                            const Transformer& model, const AdamW& optimizer, int64_t keep) {
  const std::string folder = absl::StrFormat("%s/step-%08d", CheckpointsOf(run), state.step);
  const std::string temporary = folder + ".tmp";
  std::error_code error;
  if (fs::exists(folder + "/state.json", error)) return absl::OkStatus();
  fs::remove_all(temporary, error);
  fs::create_directories(temporary, error);
  if (error) return ErrnoStatus(error.value(), "create", temporary);
  absl::Status status = SaveModel(model, temporary);
  if (status.ok()) status = SaveTensors(temporary + "/optim.safetensors", optimizer.State());
  if (status.ok()) {
    status = WriteFileAtomically(temporary + "/state.json", StateJson(state).Dump(2) + "\n");
  }
  if (status.ok()) {
    fs::remove_all(folder, error);  // what is there lacks state.json
    status = RenameDurably(temporary, folder);
  }
  if (!status.ok()) {
    fs::remove_all(temporary, error);
    return status;
  }
  std::vector<std::string> all = Checkpoints(run);
  for (size_t i = 0; i + std::max<int64_t>(keep, 1) < all.size(); ++i)
    fs::remove_all(all[i], error);
  return absl::OkStatus();
}

std::optional<std::string> NewestCheckpoint(const std::string& run) {
  const std::vector<std::string> all = Checkpoints(run);
  if (all.empty()) return std::nullopt;
  return all.back();
}

void RemoveCheckpoints(const std::string& run) {
  std::error_code error;
  fs::remove_all(CheckpointsOf(run), error);
}

absl::StatusOr<TrainState> LoadTrainState(const std::string& checkpoint) {
  ATTNLAB_ASSIGN_OR_RETURN(const Json json, Json::ParseFile(checkpoint + "/state.json"));
  const JsonRef root(json, checkpoint + "/state.json");
  TrainState state;
  ATTNLAB_ASSIGN_OR_RETURN(state.step, root["step"].Integer());
  ATTNLAB_ASSIGN_OR_RETURN(state.seed, root["seed"].Integer());
  ATTNLAB_ASSIGN_OR_RETURN(state.skipped, root["skipped"].Integer());
  ATTNLAB_ASSIGN_OR_RETURN(state.data_fingerprint, root["data_fingerprint"].StringOr(""));
  if (state.step < 0) return root["step"].Error("must not be negative");
  return state;
}

absl::Status LoadCheckpoint(const std::string& checkpoint, Transformer& model, AdamW& optimizer) {
  ATTNLAB_ASSIGN_OR_RETURN(const Transformer loaded, LoadModel(checkpoint));
  const NamedTensors from = loaded.NamedParameters(), into = model.NamedParameters();
  const c10::NoGradGuard no_grad;
  for (size_t i = 0; i < into.size(); ++i) {
    if (i >= from.size() || from[i].first != into[i].first ||
        from[i].second.sizes() != into[i].second.sizes()) {
      return absl::InvalidArgumentError(absl::StrCat(
          checkpoint, "/config.json is not of the model in the recipe: ", into[i].first));
    }
    into[i].second.copy_(from[i].second);
  }
  const std::string path = checkpoint + "/optim.safetensors";
  ATTNLAB_ASSIGN_OR_RETURN(const NamedTensors state, LoadTensors(path));
  return Annotate(optimizer.LoadState(state), path);
}

}  // namespace attnlab
