#include "apps/subject.h"

#include <algorithm>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "libs/core/log.h"
#include "libs/core/status.h"
#include "libs/model/model_io.h"
#include "libs/model/runtime.h"
#include "libs/recipe/recipe.h"
#include "libs/train/config.h"

namespace attnlab {
namespace {

namespace fs = std::filesystem;

// RUN/model for a run folder, else the folder itself.
fs::path ModelFolder(const fs::path& path) {
  std::error_code error;
  return fs::exists(path / "model" / "config.json", error) ? path / "model" : path;
}

// The recipe of the run that the model is of; none for a model from elsewhere.
absl::StatusOr<std::optional<RunConfig>> RunRecipe(const fs::path& model_folder) {
  const fs::path recipe =
      fs::absolute(model_folder).lexically_normal().parent_path() / "recipe.toml";
  std::error_code error;
  if (!fs::exists(recipe, error)) return std::nullopt;
  ATTNLAB_ASSIGN_OR_RETURN(const Recipe loaded, Recipe::Load(recipe.string(), {}));
  RunConfig config;
  ATTNLAB_RETURN_IF_ERROR(loaded.Read(config));
  return config;
}

absl::Status CheckPrepared(const fs::path& folder) {
  std::error_code error;
  for (const char* part : {"train", "validation"}) {
    if (fs::is_directory(folder / part, error)) continue;
    return absl::NotFoundError(
        absl::StrCat("the held-out data in ", folder.string(), ": there is no folder ", part,
                     "; give --data a folder that `prepare` wrote, or leave it out to use the data "
                     "that the model's run names"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<BatchSource>> OpenHeldOut(const SubjectOptions& options,
                                                         const std::optional<RunConfig>& run,
                                                         const ModelConfig& model) {
  DataOptions data = run ? run->data : DataOptions();
  std::error_code error;
  const bool prepared = fs::exists(fs::path(options.data) / "validation", error);
  if (!options.data.empty() && !options.task_files) {
    ATTNLAB_RETURN_IF_ERROR(CheckPrepared(options.data));
  }
  if (!run && !prepared) return nullptr;
  if (prepared) {
    data.source = options.data;
    data.validation.clear();
  }
  if (options.sequence_length > 0) {
    data.sequence_length = options.sequence_length;
  } else if (!run) {
    data.sequence_length = model.max_position_embeddings;
  }
  const std::vector<std::string> synthetic = SyntheticTasks();
  const bool text = std::find(synthetic.begin(), synthetic.end(), data.source) == synthetic.end();
  if (options.limit > 0 || text) data.validation_sequences = options.limit;
  ATTNLAB_ASSIGN_OR_RETURN(std::unique_ptr<BatchSource> source,
                           OpenBatchSource(data, run ? run->seed : 0));
  if (source->vocab_size() > model.vocab_size) {
    return absl::InvalidArgumentError(
        absl::StrCat("the held-out data in ", data.source, " have ", source->vocab_size(),
                     " kinds of tokens, but the model knows ", model.vocab_size,
                     "; give --data a folder that was prepared with the model's tokenizer"));
  }
  return source;
}

// Null when the folder holds none, or one that cannot be read and is not needed.
absl::StatusOr<std::unique_ptr<Tokenizer>> OpenTokenizer(const SubjectOptions& options,
                                                         const fs::path& model_folder) {
  if (!options.tokenizer.empty()) return LoadTokenizer(options.tokenizer);
  absl::StatusOr<std::unique_ptr<Tokenizer>> own = LoadTokenizer(model_folder.string());
  if (own.ok()) return own;
  if (absl::IsNotFound(own.status())) return nullptr;
  if (options.task_files) {
    return absl::Status(
        own.status().code(),
        absl::StrCat(own.status().message(),
                     "; give one of the same vocabulary that can be read "
                     "(--tokenizer FILE, or a tokenizer.model in the model folder)"));
  }
  LogWarning(absl::StrCat("no tokenizer: ", own.status().message()));
  return nullptr;
}

}  // namespace

absl::StatusOr<Subject> OpenSubject(const SubjectOptions& options) {
  Subject subject;
  const fs::path folder = ModelFolder(options.model);
  ATTNLAB_ASSIGN_OR_RETURN(const at::Device device, ParseDevice(options.device));
  ATTNLAB_ASSIGN_OR_RETURN(Transformer model, LoadModel(folder.string(), device));
  subject.model = std::make_unique<Transformer>(std::move(model));
  ATTNLAB_ASSIGN_OR_RETURN(const std::optional<RunConfig> run, RunRecipe(folder));
  subject.folder = folder.string();
  subject.run = run;
  subject.name = run ? run->name : folder.filename().string();
  subject.seed = run ? run->seed : 0;
  const std::string precision = !options.precision.empty() ? options.precision
                                : run                      ? run->precision
                                                           : "float32";
  if (precision != "float32" && precision != "bfloat16") {
    return absl::InvalidArgumentError(
        absl::StrCat("--precision \"", precision, "\": use float32 or bfloat16"));
  }
  subject.forward.bfloat16 = precision == "bfloat16";
  ATTNLAB_ASSIGN_OR_RETURN(subject.tokenizer, OpenTokenizer(options, folder));
  if (options.open_held_out) {
    ATTNLAB_ASSIGN_OR_RETURN(subject.held_out, OpenHeldOut(options, run, subject.model->config()));
  }
  return subject;
}

}  // namespace attnlab
