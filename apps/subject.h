// What programs open to measure or compress it: a model folder, its tokenizer, and the held-out
// data that its run names.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "libs/data/batch_source.h"
#include "libs/model/transformer.h"
#include "libs/text/tokenizer.h"
#include "libs/train/config.h"

namespace attnlab {

struct SubjectOptions {
  std::string model;        // a model folder, or the folder of a finished run
  std::string data;         // a folder that `prepare` wrote, or one of task files; may be empty
  bool task_files = false;  // some task reads texts: `data` may be a folder of task files alone
  // Empty: the model folder's own; one that cannot be read is an error when a task reads texts,
  // else a warning.
  std::string tokenizer;
  std::string device = "auto";
  std::string precision;        // float32 or bfloat16; empty: the recipe's, else float32
  int64_t sequence_length = 0;  // of held-out sequences; 0: the recipe's, else the model's longest
  bool open_held_out = true;    // false: Subject::held_out stays null
  int64_t limit = 0;            // held-out sequences; 0: all of a text, the recipe's of a task
};

struct Subject {
  std::string folder;            // of the model itself
  std::optional<RunConfig> run;  // the recipe of the run that it is of; none for one from elsewhere
  std::string name;              // of the recipe, or of the folder
  int64_t seed = 0;              // of the run
  std::unique_ptr<Transformer> model;
  std::unique_ptr<Tokenizer> tokenizer;   // null: the model reads no text
  std::unique_ptr<BatchSource> held_out;  // null: neither data nor a recipe that names them
  ForwardOptions forward;
};

// Errors name the folder and what it lacks.
absl::StatusOr<Subject> OpenSubject(const SubjectOptions& options);

}  // namespace attnlab
