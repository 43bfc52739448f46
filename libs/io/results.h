// The record of a run: results.h5, one HDF5 file (docs/results-format.md has the layout).
//
// RunResults holds the whole record in memory; ResultsWriter grows one and writes it out at each
// Flush, ReadResults reads one back. A flush replaces the file as a whole (written beside it,
// synced, renamed), so that results.h5 opens with every row up to the last flush whatever happens
// to the process or the disk; a torn file cannot come to be.
//
// Values are float64 and steps int64; shares and rates are fractions of 1, losses nats per token.
// The names that programs and the report agree on stand in result_names.h.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace attnlab {

inline constexpr int64_t kResultsSchemaVersion = 1;

// What the run is. Each struct below lists its attributes once, as the file names them.
struct RunInfo {
  std::string kind;     // "train", "eval", "quantize", "bench", ...
  std::string name;     // of the recipe; runs that differ in the seed alone share it
  std::string variant;  // of attention: "softmax", "softpick", ...

  template <class Visitor>
  void ForEach(Visitor&& visit) {
    visit("kind", kind, "which program made it");
    visit("name", name, "name of the recipe");
    visit("variant", variant, "attention variant");
  }
};

struct InputFile {
  std::string path, sha256;
  int64_t bytes = 0;
};

// How the run came to be. Empty strings are not shown.
struct Provenance {
  std::string commit, command_line, compiler, torch, cuda, device, driver, host;
  bool dirty = false;  // uncommitted changes in the checkout
  int64_t world_size = 1, threads = 0, seed = 0, parameters = 0;
  bool deterministic = false;
  std::string recipe;  // the resolved TOML
  std::vector<InputFile> inputs;

  template <class Visitor>
  void ForEach(Visitor&& visit) {
    visit("commit", commit, "git commit of attnlab");
    visit("dirty", dirty, "the checkout had uncommitted changes");
    visit("command_line", command_line, "the command that made the run");
    visit("compiler", compiler, "compiler of attnlab");
    visit("torch", torch, "LibTorch version");
    visit("cuda", cuda, "CUDA runtime version");
    visit("device", device, "processor that computed");
    visit("driver", driver, "its driver");
    visit("host", host, "machine");
    visit("world_size", world_size, "number of processes");
    visit("threads", threads, "threads of a process");
    visit("seed", seed, "seed of all random streams");
    visit("deterministic", deterministic, "repeats bit for bit");
    visit("parameters", parameters, "learned numbers of the model");
  }
};

struct SeriesInfo {
  std::string unit;              // "nats", "tokens/s", ...
  std::string reduction;         // how a value came from many: "mean", "max", "last"
  std::string better;            // "lower", "higher" or ""
  std::optional<double> target;  // a value to approach (an entropy), drawn as a line
  std::string target_name;

  template <class Visitor>
  void ForEach(Visitor&& visit) {
    visit("unit", unit, "unit of the values");
    visit("reduction", reduction, "how many samples became one value");
    visit("better", better, "lower, higher or nothing");
    visit("target", target, "value to approach");
    visit("target_name", target_name, "what that value is");
  }
};

struct Series {
  SeriesInfo info;
  std::vector<int64_t> steps;  // not decreasing
  std::vector<double> values;
};

// One number about the final model.
struct Metric {
  double value = 0;
  std::string label;       // for people: "sink rate (eps 0.3, T 256)"
  std::string unit;        // "fraction" is shown in per cent
  std::string better;      // "lower", "higher" or ""
  std::string definition;  // one sentence, with its source
  int64_t tokens = 0;      // sequence length T; 0 = does not apply
  int64_t sequences = 0;   // how many were measured

  template <class Visitor>
  void ForEach(Visitor&& visit) {
    visit("value", value, "the number");
    visit("label", label, "its name for people");
    visit("unit", unit, "its unit");
    visit("better", better, "lower, higher or nothing");
    visit("definition", definition, "what was measured");
    visit("T", tokens, "sequence length");
    visit("n_sequences", sequences, "sequences measured");
  }
};

// One metric of one evaluation task.
struct EvalScore {
  std::string task, metric;
  double score = 0, standard_error = 0;
  int64_t n = 0, n_shot = 0;
  bool higher_is_better = true;
  std::string harness;              // whose definition, with its version
  std::vector<double> per_example;  // empty: not kept

  template <class Visitor>
  void ForEach(Visitor&& visit) {
    visit("task", task, "name of the task");
    visit("metric", metric, "name of the metric");
    visit("score", score, "the result");
    visit("stderr", standard_error, "its standard error");
    visit("n", n, "number of examples");
    visit("n_shot", n_shot, "solved examples in the prompt");
    visit("higher_is_better", higher_is_better, "direction");
    visit("harness", harness, "whose definition, with its version");
  }
};

struct Histogram {
  std::vector<double> edges;   // [bins + 1]
  std::vector<double> counts;  // [bins]
  int64_t step = 0;
};

// A number of every head.
struct HeadMetric {
  int64_t layers = 0, heads = 0;
  std::vector<double> values;  // [layers, heads]
  std::string label, unit, definition;
  int64_t tokens = 0, sequences = 0;
  // [layers]: how many heads a layer has, the first ones, where heads were removed; empty: all.
  std::vector<int64_t> layer_heads = {};

  // The values of the heads that there are, layer by layer.
  std::vector<double> Present() const;

  template <class Visitor>
  void ForEach(Visitor&& visit) {
    visit("label", label, "its name for people");
    visit("unit", unit, "its unit");
    visit("definition", definition, "what was measured");
    visit("T", tokens, "sequence length");
    visit("n_sequences", sequences, "sequences measured");
  }
};

// A number of every layer; index 0 is the embedding where hidden states are measured.
struct LayerProfile {
  std::vector<double> values;  // [layers]
  std::string label, unit, definition;

  template <class Visitor>
  void ForEach(Visitor&& visit) {
    visit("label", label, "its name for people");
    visit("unit", unit, "its unit");
    visit("definition", definition, "what was measured");
  }
};

// The weights of one head on one sequence.
struct AttentionMap {
  int64_t rows = 0, cols = 0;       // queries, keys
  std::vector<float> values;        // [rows, cols]
  std::vector<std::string> tokens;  // [cols], or empty
  int64_t layer = 0, head = 0;      // 0-based
  std::string label;                // which input
  bool unit_scale = false;          // drawn on 0..1 (softmax), else on its own range

  template <class Visitor>
  void ForEach(Visitor&& visit) {
    visit("layer", layer, "layer, 0-based");
    visit("head", head, "head, 0-based");
    visit("label", label, "which input");
    visit("unit_scale", unit_scale, "drawn on 0..1");
  }
};

struct Box {
  double min = 0, q1 = 0, median = 0, q3 = 0, max = 0;
};

// A number of a paper against ours.
struct Claim {
  std::string statement, source;   // "softpick: no head with a sink", "2504.20966 table 2"
  double paper = 0, measured = 0;  // NaN where there is none
  std::string tolerance;           // "<= 0.01"
  std::string verdict;             // "held", "missed" or "not measured"
  std::string recipe;

  template <class Visitor>
  void ForEach(Visitor&& visit) {
    visit("statement", statement, "what is claimed");
    visit("source", source, "who claims it");
    visit("paper", paper, "their value");
    visit("measured", measured, "ours");
    visit("tolerance", tolerance, "how near it must be");
    visit("verdict", verdict, "held, missed or not measured");
    visit("recipe", recipe, "the recipe that measures it");
  }
};

// A column of a table: numbers, or texts when `texts` is not empty.
struct Column {
  std::string name, unit;
  std::vector<double> numbers;
  std::vector<std::string> texts;
  size_t size() const { return texts.empty() ? numbers.size() : texts.size(); }
};

struct RunResults {
  RunInfo info;
  std::string created_utc, finished_utc;  // ISO 8601
  std::string status;                     // "running", "finished" or "failed"
  Provenance provenance;
  std::map<std::string, Series> series;
  std::map<std::string, Metric> metrics;
  std::map<std::string, EvalScore> evals;  // by "TASK METRIC"
  std::map<std::string, Histogram> histograms;
  std::map<std::string, HeadMetric> attention;
  std::map<std::string, LayerProfile> layers;
  std::map<std::string, AttentionMap> maps;
  std::map<std::string, std::vector<Box>> boxes;  // one box a layer
  std::map<std::string, Claim> claims;
  std::map<std::string, std::vector<Column>> tables;  // by name; columns of the same length
};

// Reads results.h5, or the results.h5 of a run folder. NotFound when there is none, DataLoss when
// the file is damaged, InvalidArgument when it is no results file of this schema.
absl::StatusOr<RunResults> ReadResults(const std::string& path);

// The file image that Flush writes; the same record gives the same bytes.
absl::StatusOr<std::string> SerializeResults(RunResults& results);

// Grows the record of one run. Not for use by several threads at once. Nothing reaches the disk
// between flushes. What is written under a name that is there already replaces it.
class ResultsWriter {
 public:
  // Starts a record and writes it. AlreadyExists when `path` is there: with a finished run or with
  // one to resume, and the message says how to go on.
  static absl::StatusOr<std::unique_ptr<ResultsWriter>> Create(const std::string& path,
                                                               const RunInfo& info,
                                                               const Provenance& provenance);

  // Goes on with an unfinished record from the checkpoint of step `keep_steps_up_to`: rows of
  // series after that step are dropped. AlreadyExists when the run is finished.
  static absl::StatusOr<std::unique_ptr<ResultsWriter>> Reopen(const std::string& path,
                                                               int64_t keep_steps_up_to);

  // Adds to the record of a run that may be finished (metrics of an evaluation); its status stays.
  static absl::StatusOr<std::unique_ptr<ResultsWriter>> Amend(const std::string& path);

  // Declares a series; without it a series has no unit. Keeps the rows that are there.
  void Declare(const std::string& name, const SeriesInfo& info);
  void Append(const std::string& name, int64_t step, double value);

  void Write(const std::string& name, const Metric& metric);
  void Write(const EvalScore& score);
  void Write(const std::string& name, const Histogram& histogram);
  void Write(const std::string& name, const HeadMetric& metric);
  void Write(const std::string& name, const LayerProfile& profile);
  void Write(const std::string& name, const AttentionMap& map);
  void Write(const std::string& name, const std::vector<Box>& boxes);
  void Write(const std::string& id, const Claim& claim);
  void WriteTable(const std::string& name, const std::vector<Column>& columns);

  // Replaces the file. When that fails (a full disk) the old file stands, the rows stay in memory
  // and a later flush writes them. Nothing is done when nothing changed.
  absl::Status Flush();

  // Sets status ("finished" or "failed") and time, and flushes.
  absl::Status Finish(const std::string& status);

  const RunResults& results() const { return results_; }
  const std::string& path() const { return path_; }

 private:
  ResultsWriter(std::string path, RunResults results)
      : path_(std::move(path)), results_(std::move(results)) {}

  const std::string path_;
  RunResults results_;
  bool changed_ = true;
};

}  // namespace attnlab
