// The folder of a run, and who may write to it.
//
//   RUN/recipe.toml   the resolved recipe     RUN/checkpoints/   while it trains
//   RUN/results.h5    the record              RUN/model/         when it is done
//   RUN/lock          held while a process trains in it
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace attnlab {

enum class RunStage { kNew, kUnfinished, kFinished };

class RunFolder {
 public:
  // Makes `path` or takes what is there, and holds its lock. AlreadyExists when it is a finished
  // run and `resume` is false; FailedPrecondition when it is an unfinished run and `resume` is
  // false, when its recipe is not `recipe`, when it holds other files, or when another process
  // trains in it. Each says how to go on.
  static absl::StatusOr<std::unique_ptr<RunFolder>> Open(const std::string& path,
                                                         const std::string& recipe, bool resume);
  ~RunFolder();
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;

  const std::string& path() const { return path_; }
  RunStage stage() const { return stage_; }
  std::string results_path() const { return path_ + "/results.h5"; }
  std::string model_path() const { return path_ + "/model"; }

 private:
  explicit RunFolder(std::string path) : path_(std::move(path)) {}
  absl::Status Lock();
  absl::Status Compare(const std::string& recipe) const;

  const std::string path_;
  RunStage stage_ = RunStage::kNew;
  int lock_ = -1;
};

}  // namespace attnlab
