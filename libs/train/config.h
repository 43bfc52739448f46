// A training run, as a recipe says it. Every field is listed once (libs/core/fields.h).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "libs/data/batch_source.h"
#include "libs/model/config.h"
#include "libs/optim/optimizer.h"
#include "libs/optim/schedule.h"

namespace attnlab {

struct LoopConfig {
  int64_t steps = 1000;
  int64_t micro_batch = 0;
  int64_t log_every = 10;
  int64_t validate_every = 250;
  int64_t checkpoint_every = 500;
  int64_t keep_checkpoints = 1;

  template <class Visitor>
  void ForEach(Visitor&& visit) {
    visit("steps", steps, "optimizer steps");
    visit("micro_batch", micro_batch, "sequences a forward pass, gradients add up; 0 = data.batch");
    visit("log_every", log_every, "steps between writes of results.h5 and log lines");
    visit("validate_every", validate_every, "steps between validations; 0 = only at the end");
    visit("checkpoint_every", checkpoint_every, "steps between checkpoints; 0 = only at the end");
    visit("keep_checkpoints", keep_checkpoints, "newest checkpoints that are kept while training");
  }
};

struct AnalysisConfig {
  int64_t every = 0;
  int64_t sequences = 16;
  int64_t sequence_length = 0;
  int64_t map_length = 64;

  template <class Visitor>
  void ForEach(Visitor&& visit) {
    visit("every", every, "steps between analyses of attention; 0 = only at the end");
    visit("sequences", sequences, "held-out sequences that are analysed; 0 = no analysis");
    visit("sequence_length", sequence_length, "their length; 0 = data.sequence_length");
    visit("map_length", map_length, "queries and keys of the stored attention maps");
  }
};

struct RunConfig {
  std::string name = "run";
  int64_t seed = 1;
  std::string device = "auto";
  std::string precision = "float32";
  int64_t threads = 0;
  bool deterministic = true;
  DataOptions data;
  ModelConfig model;
  OptimizerConfig optimizer;
  ScheduleConfig schedule;
  LoopConfig train;
  AnalysisConfig analysis;

  template <class Visitor>
  void ForEach(Visitor&& visit) {
    visit("name", name, "what reports call the run");
    visit("seed", seed, "the seed of everything that is drawn");
    visit("device", device, "auto (a GPU if there is one), cpu, cuda or cuda:N");
    visit("precision", precision, "float32, or bfloat16 for matrix products with float32 masters");
    visit("threads", threads, "CPU threads; 0 = all cores");
    visit("deterministic", deterministic, "the same bits on every run on one machine");
    visit("data", data, "what is learned");
    visit("model", model, "the network");
    visit("optimizer", optimizer, "AdamW");
    visit("schedule", schedule, "the learning rate");
    visit("train", train, "the loop");
    visit("analysis", analysis, "what is measured of attention and activations");
  }
};

// InvalidArgument when fields contradict each other or are out of range.
absl::Status Validate(const RunConfig& config);

}  // namespace attnlab
