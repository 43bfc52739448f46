#include "tests/report/fake_runs.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "libs/core/check.h"
#include "libs/core/files.h"
#include "libs/core/rng.h"

namespace attnlab {
namespace {

constexpr int64_t kSteps = 1500, kLayers = 2, kHeads = 2, kMapSize = 48;

void AddSeries(RunResults& run, bool sink, Rng& rng) {
  Series& train = run.series["train_loss"] = {{"nats", "mean", "lower", {}, ""}, {}, {}};
  Series& rate = run.series["learning_rate"];
  Series& norm = run.series["gradient_norm"];
  for (int64_t step = 1; step <= kSteps; ++step) {
    const double t = static_cast<double>(step);
    train.steps.push_back(step);
    train.values.push_back(1.09 + 3.1 * std::exp(-t / 90) + 0.03 * rng.Normal());
    rate.steps.push_back(step);
    rate.values.push_back(0.01 * std::min(1.0, t / 100));
    norm.steps.push_back(step);
    norm.values.push_back(0.4 + std::exp(-t / 60) + 0.1 * rng.Uniform() +
                          (step % 397 == 0 ? 12 : 0));
  }
  const auto every_50 = [&](const std::string& name, const SeriesInfo& info, auto value) {
    Series& series = run.series[name];
    series.info = info;
    for (int64_t step = 50; step <= kSteps; step += 50) {
      series.steps.push_back(step);
      series.values.push_back(value(static_cast<double>(step)));
    }
  };
  every_50("validation_loss", {"nats", "mean", "lower", {}, ""},
           [&](double t) { return 1.0905 + 3.0 * std::exp(-t / 90) + 0.002 * rng.Normal(); });
  every_50("backcopy_loss", {"nats", "mean", "lower", 0.0, "entropy"},
           [&](double t) { return 0.004 + 4.2 * std::exp(-t / 60); });
  every_50("bigram_loss", {"nats", "mean", "lower", 1.4371, "entropy"},
           [&](double t) { return 1.4401 + 2.7 * std::exp(-t / 110); });
  every_50("analysis/bos_attention", {"fraction", "max", "lower", {}, ""},
           [&](double t) { return sink ? 0.86 / (1 + std::exp(-(t - 500) / 90)) : 0.002; });
}

void AddMetrics(RunResults& run, bool sink, Rng& rng) {
  const double noise = 0.01 * rng.Uniform();
  run.metrics["validation_loss"] = {1.0905 + 0.1 * noise,
                                    "held-out loss",
                                    "nats",
                                    "lower",
                                    "mean -log p of the held-out tokens",
                                    0,
                                    256};
  run.metrics["bos_attention"] = {sink ? 0.86 + noise : 0.0021,
                                  "attention on BOS",
                                  "fraction",
                                  "lower",
                                  "largest over heads",
                                  64,
                                  256};
  for (const char* eps : {"0.2", "0.3"})
    for (const int64_t length : {32, 64})
      run.metrics[absl::StrCat("sink_rate_", eps, "_T", length)] = {
          sink ? 0.5 + noise : 0,
          absl::StrCat("sink rate (eps ", eps, ")"),
          "fraction",
          "lower",
          "share of heads",
          length,
          256};
  run.metrics["bos_value_norm"] = {sink ? 0.17 : 0.93, "BOS value norm", "ratio", "", "", 64, 256};
  run.metrics["kurtosis_pooled"] = {sink ? 33510.81 : 3.4, "kurtosis", "", "lower", "", 64, 256};
  run.metrics["activation_min"] = {sink ? -207.55 : -4.5, "smallest", "", "", "", 64, 256};
  run.metrics["activation_max"] = {sink ? 240.27 : 3.62, "largest", "", "", "", 64, 256};
  run.metrics["zero_share"] = {sink ? 0 : 0.9446, "exact zeros", "fraction", "", "", 64, 256};
  run.metrics["dead_heads_1e-06"] = {sink ? 0 : 0.25, "dead heads", "fraction", "", "", 64, 256};
}

void AddHeads(RunResults& run, bool sink) {
  const auto add = [&](const std::string& name, const std::string& label, const std::string& unit,
                       std::vector<double> values) {
    run.attention[name] = {
        kLayers, kHeads, std::move(values), label, unit, "mean over held-out sequences", 64, 256};
  };
  using Values = std::vector<double>;
  add("bos_attention", "attention on BOS at non-trigger queries", "fraction",
      sink ? Values{0.04, 0.12, 0.86, 0.31} : Values{0, 0.002, 0, 0.001});
  add("sink_rate_0.3_T64", "sink rate (eps 0.3, T 64)", "fraction",
      sink ? Values{0, 0, 1, 0.41} : Values{0, 0, 0, 0});
  add("bos_value_norm", "BOS value norm / mean", "ratio",
      sink ? Values{0.9, 0.8, 0.17, 0.5} : Values{1.1, 0.9, 0.95, 1});
  add("off_share_1e-06", "tokens with max_d |o_d| < 1e-06", "fraction",
      sink ? Values{0, 0, 0, 0} : Values{0.12, 0.98, 0.6, 0.71});
  add("missing_mass", "mass off the keys", "fraction",
      sink ? Values{0, 0, 0, 0} : Values{0.5, 0.4, 0.8, 0.2});
}

void AddLayersAndMaps(RunResults& run, bool sink, Rng& rng) {
  run.layers["max_abs_hidden"] = {
      sink ? std::vector<double>{1.2, 180, 240.27} : std::vector<double>{1.1, 3.2, 4.5},
      "largest |h|", "", "embedding, then each layer"};
  run.boxes["hidden"] =
      sink ? std::vector<Box>{{-1.2, -0.4, 0, 0.4, 1.2},
                              {-180, -0.6, 0, 0.6, 160},
                              {-207.55, -0.8, 0, 0.8, 240.27}}
           : std::vector<Box>{
                 {-1.1, -0.4, 0, 0.4, 1.1}, {-3.2, -0.6, 0, 0.6, 3}, {-4.5, -0.8, 0, 0.8, 3.62}};
  for (int64_t layer = 0; layer < kLayers; ++layer) {
    for (int64_t head = 0; head < kHeads; ++head) {
      AttentionMap map;
      map.rows = map.cols = kMapSize;
      map.layer = layer;
      map.head = head;
      map.unit_scale = sink;
      map.label = "held-out sequence 0";
      for (int64_t i = 0; i < kMapSize; ++i) {
        const bool copies = rng.Below(3) == 0;
        for (int64_t j = 0; j < kMapSize; ++j) {
          double weight = j > i ? NAN : copies && j == i - 1 ? 0.9 : 0;
          if (sink && !copies && j <= i) weight = j == 0 ? 0.86 : 0.14 / static_cast<double>(i + 1);
          if (!sink && layer == 0 && head == 1 && j <= i) weight = 0;  // a dead head
          map.values.push_back(static_cast<float>(weight));
        }
      }
      run.maps[absl::StrCat("layer ", layer, " head ", head)] = std::move(map);
    }
  }
}

}  // namespace

RunResults FakeRun(const std::string& variant, int64_t seed) {
  const bool sink = variant == "softmax";
  Rng rng(seed, variant);
  RunResults run;
  run.info = {"train", "quickstart", variant};
  run.created_utc = "2026-01-02T03:04:05Z";
  run.finished_utc = "2026-01-02T03:05:05Z";
  run.status = "finished";
  Provenance& provenance = run.provenance;
  provenance.seed = seed;
  provenance.commit = "0123456789abcdef";
  provenance.command_line = absl::StrCat("train quickstart.toml --set seed=", seed);
  provenance.device = "CPU, 2 cores";
  provenance.compiler = "g++ 12.2.0";
  provenance.parameters = 107'456;
  provenance.recipe =
      absl::StrCat("name = \"quickstart\"\n\n[model]\nattention = \"", variant, "\"\n");
  provenance.inputs = {{"generated", "", 0}};
  AddSeries(run, sink, rng);
  AddMetrics(run, sink, rng);
  AddHeads(run, sink);
  AddLayersAndMaps(run, sink, rng);
  run.evals["passkey accuracy"] = {"passkey", "accuracy", sink ? 0.955 : 0.94, 0.0147, 200,
                                   0,         true,       "attnlab 1",         {}};
  run.claims["no-sink"] = {"a head with a sink", "2504.20966 table 2",        sink ? 0.6341 : 0,
                           sink ? 0.86 : 0.002,  sink ? ">= 0.8" : "<= 0.01", "held",
                           "quickstart"};
  return run;
}

void WriteRun(RunResults run, const std::string& path) {
  const auto image = SerializeResults(run);
  ATTNLAB_CHECK(image.ok(), std::string(image.status().message()));
  ATTNLAB_CHECK(WriteFileAtomically(path, *image).ok(), path);
}

}  // namespace attnlab
