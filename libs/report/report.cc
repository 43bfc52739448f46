#include "libs/report/report.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "libs/io/result_names.h"
#include "libs/report/bench_tables.h"
#include "libs/report/figures.h"
#include "libs/report/series_plots.h"
#include "libs/report/sweep_tables.h"
#include "libs/report/tables.h"
#include "libs/report/text.h"

namespace attnlab {
namespace {

constexpr size_t kMaps = 12;             // shown at once; the others are folded away
constexpr char kDuring[] = "analysis/";  // series of metrics measured during training

void AddTable(Table table, std::vector<Block>& blocks) {
  if (!table.rows.empty()) blocks.emplace_back(std::move(table));
}

void AddFigure(Figure figure, std::vector<Block>& blocks) {
  if (!figure.plots.empty()) blocks.emplace_back(std::move(figure));
}

void Extend(std::vector<Plot>& plots, std::vector<Plot> more) {
  plots.insert(plots.end(), std::make_move_iterator(more.begin()),
               std::make_move_iterator(more.end()));
}

// Whether any run has a value other than 0 under this name.
template <class Entry>
auto AnyValue(const RunSet& set, std::map<std::string, Entry> RunResults::*part) {
  return [&set, part](const std::string& name) {
    return std::any_of(set.runs.begin(), set.runs.end(), [&](const ReportRun& run) {
      const auto it = (run.results.*part).find(name);
      return it != (run.results.*part).end() &&
             std::any_of(it->second.values.begin(), it->second.values.end(),
                         [](double value) { return std::abs(value) > 0; });
    });
  };
}

// Which names were shown already, so that each stands in the report once.
class Names {
 public:
  explicit Names(std::vector<std::string> all) : left_(all.begin(), all.end()) {}

  bool Take(const std::string& name) { return left_.erase(name) > 0; }

  // Takes the name PREFIX_T<number> with the largest number, of those that `shows` if there are
  // any; "" when there is none.
  std::string TakeLongest(const std::string& prefix,
                          const std::function<bool(const std::string&)>& shows) {
    std::string found;
    std::pair<bool, int64_t> best(false, -1);
    for (const std::string& name : left_) {
      int64_t length = 0;
      if (!absl::StartsWith(name, prefix + "_T") ||
          !absl::SimpleAtoi(name.substr(prefix.size() + 2), &length))
        continue;
      const std::pair<bool, int64_t> rank(shows(name), length);
      if (rank <= best) continue;
      best = rank;
      found = name;
    }
    left_.erase(found);
    return found;
  }

  const std::set<std::string>& left() const { return left_; }

 private:
  std::set<std::string> left_;
};

Section SummarySection(const RunSet& set) {
  Section section{"Summary", "", {}, {}};
  AddTable(SummaryTable(set), section.blocks);
  return section;
}

Section ClaimsSection(const RunSet& set, const std::vector<Verdict>& verdicts) {
  Section section{"Claims", "", {}, {}};
  AddTable(ClaimsTable(set, verdicts), section.blocks);
  return section;
}

Section LossSection(const RunSet& set, Names& series) {
  Section section{"Loss", "", {}, {}};
  Figure figure;
  const bool train = series.Take(names::kTrainLoss);
  if (series.Take(names::kValidationLoss)) {
    figure.plots = SeriesPlots(set, names::kValidationLoss,
                               train ? "Held-out loss (faint: training)" : "Held-out loss",
                               train ? names::kTrainLoss : "");
  } else if (train) {
    figure.plots = SeriesPlots(set, names::kTrainLoss, "Training loss");
  }
  for (const auto& [name, title] : {std::pair(names::kBackcopyLoss, "Loss at back-copy positions"),
                                    std::pair(names::kBigramLoss, "Loss at bigram positions")}) {
    if (series.Take(name)) Extend(figure.plots, SeriesPlots(set, name, title));
  }
  AddFigure(std::move(figure), section.blocks);
  return section;
}

Section OptimizationSection(const RunSet& set, Names& series) {
  Section section{"Optimization", "", {}, {}};
  Figure figure, more;
  for (const auto& [name, title] : {std::pair(names::kLearningRate, "Learning rate"),
                                    std::pair(names::kGradientNorm, "Gradient norm"),
                                    std::pair(names::kTokensPerSecond, "Speed")}) {
    if (series.Take(name)) Extend(figure.plots, SeriesPlots(set, name, title));
  }
  const std::set<std::string> left = series.left();
  for (const std::string& name : left) {
    if (absl::StartsWith(name, kDuring)) continue;
    series.Take(name);
    Extend(more.plots, SeriesPlots(set, name, ShortTitle(name)));
  }
  AddFigure(std::move(figure), section.blocks);
  AddFigure(std::move(more), section.more);
  return section;
}

// Metrics measured during training, each PREFIX or the longest PREFIX_T<number> that shows
// anything.
Figure DuringTraining(const RunSet& set, const std::vector<std::string>& prefixes, Names& series) {
  Figure figure;
  for (const std::string& prefix : prefixes) {
    std::string name = absl::StrCat(kDuring, prefix);
    if (!series.Take(name)) name = series.TakeLongest(name, AnyValue(set, &RunResults::series));
    if (name.empty()) continue;
    Extend(figure.plots, SeriesPlots(set, name, ShortTitle(name.substr(sizeof kDuring - 1))));
  }
  if (!figure.plots.empty()) figure.title = "During training";
  return figure;
}

Section SinkSection(const RunSet& set, Names& series, Names& heads) {
  Section section{
      "Attention sink", "Rows are layers, columns are heads, both counted from 0.", {}, {}};
  for (const char* name : {names::kHeadBosAttention, names::kHeadFirstKeyMass}) {
    if (heads.Take(name)) AddFigure(HeadFigure(set, name), section.blocks);
  }
  for (const std::string& prefix :
       {std::string(names::kHeadSinkRate), absl::StrCat(names::kHeadSinkRate, "_0.3")}) {
    std::string name = prefix;
    if (!heads.Take(name)) name = heads.TakeLongest(prefix, AnyValue(set, &RunResults::attention));
    if (!name.empty()) AddFigure(HeadFigure(set, name), section.blocks);
  }
  for (const std::string name : {names::kHeadBosValueNorm, "value_norm_ratio"}) {
    if (heads.Take(name)) AddFigure(HeadFigure(set, name), section.blocks);
  }
  AddFigure(DuringTraining(set,
                           {names::kBosAttention, absl::StrCat(names::kSinkRate, "_0.3"),
                            names::kFirstKeyMass, names::kBosValueNorm},
                           series),
            section.blocks);
  const std::set<std::string> left = heads.left();
  for (const std::string& name : left) {
    if (!absl::StartsWith(name, names::kHeadOffShare) && heads.Take(name))
      AddFigure(HeadFigure(set, name), section.more);
  }
  if (section.blocks.empty() && section.more.empty()) section.intro.clear();
  return section;
}

Section ActivationSection(const RunSet& set, Names& series) {
  Section section{"Activations", "", {}, {}};
  for (const std::string& name : BoxNames(set)) {
    Figure figure = BoxFigure(set, name);
    figure.title = name == names::kHiddenBoxes ? "Hidden states by layer" : ShortTitle(name);
    AddFigure(std::move(figure), section.blocks);
  }
  Names profiles(LayerProfileNames(set));
  Figure layers, more;
  for (const std::string name : {names::kMaxAbsHidden, "top_over_median", "first_norm_ratio"}) {
    if (profiles.Take(name)) Extend(layers.plots, LayerPlots(set, name));
  }
  if (!layers.plots.empty()) layers.title = "By layer";
  for (const std::string& name : profiles.left()) Extend(more.plots, LayerPlots(set, name));
  for (const std::string& name : HistogramNames(set)) Extend(more.plots, HistogramPlots(set, name));
  AddFigure(std::move(layers), section.blocks);
  AddFigure(
      DuringTraining(set, {"kurtosis_pooled", names::kActivationMax, names::kZeroShare}, series),
      section.blocks);
  AddFigure(std::move(more), section.more);
  return section;
}

Section MapSection(const RunSet& set) {
  Section section{"Attention maps",
                  "Queries downwards, keys to the right. Softmax is drawn on 0 to 1; a variant "
                  "whose rows need not sum to 1 is drawn on its own range, map by map.",
                  {},
                  {}};
  const int groups = static_cast<int>(set.groups.size());
  Figure shown, more;
  shown.columns = more.columns = groups * std::max(1, 4 / groups);
  const std::vector<std::string> map_names = MapNames(set);
  for (size_t i = 0; i < map_names.size(); ++i)
    Extend((i < kMaps ? shown : more).plots, MapPlots(set, map_names[i]));
  AddFigure(std::move(shown), section.blocks);
  AddFigure(std::move(more), section.more);
  return section;
}

Section DeadHeadSection(const RunSet& set, Names& series, Names& heads) {
  Section section{"Dead heads", "", {}, {}};
  const std::set<std::string> left = heads.left();
  for (const std::string& name : left) {
    if (absl::StartsWith(name, names::kHeadOffShare) && heads.Take(name))
      AddFigure(HeadFigure(set, name), section.blocks);
  }
  AddFigure(DuringTraining(set,
                           {absl::StrCat(names::kDeadHeads, "_1e-06"),
                            absl::StrCat(names::kDeadHeads, "_0.01")},
                           series),
            section.blocks);
  return section;
}

Section ProvenanceSection(const RunSet& set) {
  Section section{"Provenance", "", {}, {}};
  AddTable(ProvenanceTable(set), section.blocks);
  AddTable(InputsTable(set), section.blocks);
  for (const ReportRun& run : set.runs) {
    if (!run.results.provenance.recipe.empty())
      section.blocks.emplace_back(
          Code{absl::StrCat("Recipe: ", run.label), run.results.provenance.recipe});
  }
  return section;
}

}  // namespace

Document MakeDocument(const RunSet& set, const std::vector<Verdict>& verdicts,
                      const Published& published) {
  Document document;
  std::set<std::string> run_names;
  std::string newest;
  for (const ReportRun& run : set.runs) {
    run_names.insert(run.results.info.name);
    newest = std::max(newest, run.results.created_utc);
  }
  for (const RunGroup& group : set.groups) document.legend.push_back({group.label, group.color});
  document.title = absl::StrJoin(run_names, ", ");
  document.subtitle = absl::StrCat(set.runs.size(), set.runs.size() == 1 ? " run" : " runs",
                                   ", the newest started ", newest);
  Names series(SeriesNames(set)), heads(HeadMetricNames(set));
  std::vector<Section>& sections = document.sections;
  sections.push_back(SummarySection(set));
  sections.push_back(ClaimsSection(set, verdicts));
  sections.push_back(LossSection(set, series));
  sections.push_back(SinkSection(set, series, heads));
  sections.push_back(MapSection(set));
  sections.push_back(ActivationSection(set, series));
  sections.push_back(DeadHeadSection(set, series, heads));
  sections.push_back(OptimizationSection(set, series));
  Section tasks{"Tasks", "", {}, {}}, stored{"Tables", "", {}, {}},
      compression{"Compression", "", {}, {}}, kernels{"Kernels", "", {}, {}},
      all{"All metrics", "", {}, {}};
  AddTable(EvalTable(set), tasks.blocks);
  for (Table& table : SweepTables(set)) AddTable(std::move(table), compression.blocks);
  for (Table& table : PublishedTables(published, set)) {
    AddTable(std::move(table), compression.blocks);
  }
  for (Table& table : BenchTables(set)) AddTable(std::move(table), kernels.blocks);
  for (Table& table : StoredTables(set)) AddTable(std::move(table), stored.blocks);
  AddTable(MetricsTable(set), all.blocks);
  sections.push_back(std::move(compression));
  sections.push_back(std::move(kernels));
  sections.push_back(std::move(tasks));
  sections.push_back(std::move(stored));
  sections.push_back(std::move(all));
  sections.push_back(ProvenanceSection(set));
  return document;
}

}  // namespace attnlab
