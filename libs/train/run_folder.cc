#include "libs/train/run_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "libs/core/files.h"
#include "libs/core/status.h"
#include "libs/io/results.h"

namespace attnlab {
namespace {
namespace fs = std::filesystem;
}  // namespace

absl::StatusOr<std::unique_ptr<RunFolder>> RunFolder::Open(const std::string& path,
                                                           const std::string& recipe, bool resume) {
  auto folder = std::unique_ptr<RunFolder>(new RunFolder(path));
  std::error_code error;
  const std::string recipe_path = path + "/recipe.toml";
  const bool was_there = fs::exists(path, error) && !fs::is_empty(path, error);
  if (was_there && !fs::exists(recipe_path, error) && !fs::exists(path + "/lock", error)) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, " holds files that are no run; choose another --out"));
  }
  fs::create_directories(path, error);
  if (error) return ErrnoStatus(error.value(), "create", path);
  ATTNLAB_RETURN_IF_ERROR(folder->Lock());
  if (!fs::exists(folder->results_path(), error)) {
    if (fs::exists(path + "/checkpoints", error)) {
      return absl::FailedPreconditionError(
          absl::StrCat(path, " has checkpoints but no results.h5; put it back, or remove ", path));
    }
    // Nothing was trained: a recipe from an attempt that failed before does not bind.
    ATTNLAB_RETURN_IF_ERROR(WriteFileAtomically(recipe_path, recipe));
    return folder;
  }
  ATTNLAB_ASSIGN_OR_RETURN(const RunResults results, ReadResults(folder->results_path()));
  folder->stage_ = results.status == "finished" ? RunStage::kFinished : RunStage::kUnfinished;
  if (!resume) {
    if (folder->stage_ == RunStage::kFinished) {
      return absl::AlreadyExistsError(
          absl::StrCat(path, " holds a finished run; choose another --out"));
    }
    return absl::FailedPreconditionError(absl::StrCat(
        path, " holds an unfinished run; go on with --resume or choose another --out"));
  }
  ATTNLAB_RETURN_IF_ERROR(folder->Compare(recipe));
  return folder;
}

RunFolder::~RunFolder() {
  if (lock_ >= 0) close(lock_);
}

absl::Status RunFolder::Lock() {
  const std::string path = path_ + "/lock";
  lock_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (lock_ < 0) return ErrnoStatus(errno, "create", path);
  if (flock(lock_, LOCK_EX | LOCK_NB) == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("another process is training in ", path_,
                                                    "; wait for it or choose another --out"));
}

absl::Status RunFolder::Compare(const std::string& recipe) const {
  ATTNLAB_ASSIGN_OR_RETURN(const std::string recorded, ReadFile(path_ + "/recipe.toml"));
  if (recorded == recipe) return absl::OkStatus();
  const std::vector<std::string> was = absl::StrSplit(recorded, '\n');
  const std::vector<std::string> is = absl::StrSplit(recipe, '\n');
  size_t line = 0;
  while (line < was.size() && line < is.size() && was[line] == is[line]) ++line;
  return absl::FailedPreconditionError(absl::StrCat(
      path_, "/recipe.toml:", line + 1, ": the run was started with \"",
      line < was.size() ? was[line] : "", "\", the recipe now says \"",
      line < is.size() ? is[line] : "", "\"; a run cannot change: choose another --out"));
}

}  // namespace attnlab
